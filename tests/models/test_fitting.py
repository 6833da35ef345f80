"""Which tensors of a file a network gets: prefixes, what is left out, and what an error advises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.utils as reparametrize
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from visionscope.errors import ConfigError
from visionscope.models.load import load_model

State = dict[str, Tensor]

NET = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, 2, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)) for _ in range(2))
        self.head = nn.Linear(8, classes)
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))

def small(channels: int = 3, num_classes: int = 4):
    return Small(channels, num_classes)

def compiled():
    model = Small()
    model.blocks = torch.compile(model.blocks)
    return model

def normed():
    model = Small()
    nn.utils.parametrizations.weight_norm(model.stem)
    return model

for function in (small, compiled, normed):
    function.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py"


def _trained(net: str, function: str = "small") -> nn.Module:
    model = load_model(f"{net}:{function}", random_weights=0).model
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)  # no tensor has its initial value
    return model


def _under(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: value for name, value in state.items()}


def _equal(model: nn.Module, state: State) -> bool:
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)


EXTRA = {"criterion.weight": torch.ones(4), "val_acc.total": torch.tensor(3), "train_loss": torch.tensor(0.1)}
WHOLE = "checkpoint w.ckpt"


@pytest.mark.parametrize(
    ("wrap", "weights"),
    [
        (_under("model."), WHOLE),
        (_under("net."), WHOLE),
        (_under("network.backbone."), WHOLE),
        (_under("module.model."), WHOLE),
        (_under("model._orig_mod."), WHOLE),
        (_under("_fsdp_wrapped_module.model."), WHOLE),
        (lambda s: {name.replace("blocks.", "blocks._orig_mod."): value for name, value in s.items()}, WHOLE),
        (lambda s: {name.replace("blocks.0.", "blocks.0._orig_mod."): value for name, value in s.items()}, WHOLE),
        (
            lambda s: _under("model.")(s) | EXTRA,
            f"{WHOLE} (state_dict.model, without 3 of its tensors: criterion.weight, val_acc.total, train_loss)",
        ),
        (
            lambda s: _under("net.")(s) | {f"loss.{index}": torch.ones(1) for index in range(5)},
            f"{WHOLE} (state_dict.net, without 5 of its tensors: loss.0, loss.1, loss.2, ...)",
        ),
        (
            lambda s: s | {"criterion.weight": torch.ones(4)},
            f"{WHOLE} (without 1 of its tensors: criterion.weight)",
        ),
        (
            lambda s: _under("module.")(s) | {"n_averaged": torch.tensor(7)},
            f"{WHOLE} (state_dict.module, without 1 of its tensors: n_averaged)",
        ),
        (
            lambda s: _under("model.")(s) | _under("model_ema.module.")({k: v * 2 for k, v in s.items()}),
            f"{WHOLE} (state_dict.model, not model_ema.module)",
        ),
        (
            lambda s: s | _under("ema_model.")({k: v * 2 for k, v in s.items()}),
            f"{WHOLE} (state_dict, not ema_model)",
        ),
        (
            lambda s: _under("student.")(s) | _under("teacher.")({k: v * 2 for k, v in s.items()}),
            f"{WHOLE} (state_dict.student, not teacher)",
        ),
        (_under("ema."), f"{WHOLE} (state_dict.ema)"),
    ],
)
@pytest.mark.parametrize("head", [4, 7])
def test_names_under_a_prefix_are_found_and_what_is_left_out_is_said(
    wrap: Callable[[State], State], weights: str, head: int, net: str, tmp_path: Path
) -> None:
    state = _trained(net).state_dict()
    state |= {"head.weight": torch.ones(head, 8), "head.bias": torch.ones(head)}
    torch.save({"state_dict": wrap(state), "epoch": 3}, tmp_path / "w.ckpt")
    spec = f"{net}:small" if head == 4 else f"{net}:small?num_classes={head}"
    loaded = load_model(f"{spec}@{tmp_path}/w.ckpt")
    assert _equal(loaded.model, state)
    assert loaded.weights == weights


def test_what_torch_itself_averages_is_read(net: str, tmp_path: Path) -> None:
    model = _trained(net)
    torch.save(AveragedModel(model).state_dict(), tmp_path / "swa.pt")
    torch.save({"model_ema": AveragedModel(model).state_dict(), "epoch": 3}, tmp_path / "ema.pth")
    for name in ("swa.pt", "ema.pth"):
        loaded = load_model(f"{net}:small@{tmp_path}/{name}")
        assert _equal(loaded.model, model.state_dict())
        assert loaded.weights.endswith("without 1 of its tensors: n_averaged)")


def test_a_network_that_is_compiled_itself_gets_its_weights(net: str, tmp_path: Path) -> None:
    plain, compiled = _trained(net), load_model(f"{net}:compiled", random_weights=1).model
    assert any("_orig_mod." in name for name in compiled.state_dict())
    for name, state in (("plain", plain.state_dict()), ("own", compiled.state_dict())):
        torch.save(state, tmp_path / f"{name}.pth")
        loaded = load_model(f"{net}:compiled@{tmp_path}/{name}.pth").model
        assert torch.equal(loaded.stem.weight, state["stem.weight"])
        assert torch.equal(
            loaded.blocks.get_submodule("_orig_mod.1.0").bias,
            state[next(key for key in state if key.endswith("1.0.bias"))],
        )


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("norm", [reparametrize.weight_norm, parametrizations.weight_norm])
def test_weight_norm_is_read_in_its_old_form_and_its_new(norm: Callable[..., Any], net: str, tmp_path: Path) -> None:
    model = _trained(net)
    wanted = model.stem.weight.detach().clone()
    norm(model.stem)
    torch.save({"state_dict": _under("model.")(model.state_dict())}, tmp_path / "normed.pth")
    loaded = load_model(f"{net}:normed@{tmp_path}/normed.pth").model
    torch.testing.assert_close(loaded.stem.weight, wanted)


def test_two_networks_that_fit_alike_must_be_told_apart(net: str, tmp_path: Path) -> None:
    state = _trained(net).state_dict()
    torch.save(
        _under("encoder_q.")(state) | _under("encoder_k.")({k: v * 2 for k, v in state.items()}), tmp_path / "m.pth"
    )
    with pytest.raises(ConfigError, match=r"several networks that fit; choose one: m\.pth#encoder_q, m\.pth#encoder_k"):
        load_model(f"{net}:small@{tmp_path}/m.pth")
    chosen = load_model(f"{net}:small@{tmp_path}/m.pth#encoder_k")
    assert torch.equal(chosen.model.head.bias, 2 * state["head.bias"])


@pytest.mark.parametrize("keys", [("generator", "discriminator"), ("a", "b")])
def test_two_parts_of_a_file_must_be_told_apart(keys: tuple[str, str], net: str, tmp_path: Path) -> None:
    state = _trained(net).state_dict()
    torch.save({keys[0]: state, keys[1]: {k: v * 2 for k, v in state.items()}, "optimizer": state}, tmp_path / "m.pth")
    with pytest.raises(ConfigError, match=rf"several networks; choose one: m\.pth#{keys[0]}, m\.pth#{keys[1]}$"):
        load_model(f"{net}:small@{tmp_path}/m.pth")
    assert torch.equal(load_model(f"{net}:small@{tmp_path}/m.pth#{keys[1]}").model.head.bias, 2 * state["head.bias"])


def test_a_part_is_chosen_by_keys_and_prefix(net: str, tmp_path: Path) -> None:
    state = _trained(net).state_dict()
    torch.save({"state_dict": _under("a.net.")(state), "x": {"y": _under("b.")(state)}}, tmp_path / "m.pth")
    for part in ("state_dict.a.net", "state_dict.a", "a.net", "a", "state_dict"):
        assert _equal(load_model(f"{net}:small@{tmp_path}/m.pth#{part}").model, state)
    with pytest.raises(ConfigError, match=r"m\.pth: it has no part 'stat_dict'. Did you mean 'state_dict'\?"):
        load_model(f"{net}:small@{tmp_path}/m.pth#stat_dict")
    save_file(_under("b.")(state) | _under("c.")({k: v * 2 for k, v in state.items()}), tmp_path / "two#b.safetensors")
    assert _equal(load_model(f"{net}:small@{tmp_path}/two#b.safetensors#b").model, state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {k: v for k, v in _under("encoder.")(s).items() if "head" not in k},
            r"does not fit the model with the prefix 'encoder.' taken off: 2 missing: head.weight, head.bias; "
            r"of the model's 18 tensors 16 have the prefix; the others must have it, too$",
        ),
        (
            lambda s: _under("model.")(s) | {"model.neck.weight": torch.ones(2)},
            r"with the prefix 'model.' taken off: 1 unexpected: neck.weight$",
        ),
        (
            lambda s: {f"layer{index}.weight": torch.ones(2) for index in range(5)},
            r"16 missing: .*5 unexpected: .*; its names begin with layer0, layer1, layer2, ..., the model's with stem, "
            r"blocks, head: this is another architecture's file$",
        ),
        (
            lambda s: s | {"stem.weight": torch.ones(8, 13, 3, 3)},
            r"1 mis-shaped: stem.weight \(8, 13, 3, 3\) instead of \(8, 3, 3, 3\); its images have 13 channels",
        ),
        (lambda s: s | {"stem.weight": torch.ones(8, 3, 5, 5)}, r"instead of \(8, 3, 3, 3\)$"),
        (lambda s: s | {"extra.weight": torch.ones(2)}, r"does not fit the model: 1 unexpected: extra.weight$"),
        (lambda s: {k: v for k, v in s.items() if k != "blocks.1.0.bias"}, r"1 missing: blocks.1.0.bias$"),
    ],
)
def test_what_cant_fit_says_what_to_change(
    change: Callable[[State], State], message: str, net: str, tmp_path: Path
) -> None:
    torch.save(change(_trained(net).state_dict()), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(f"{net}:small@{tmp_path}/w.pth")
    assert "\n" not in str(raised.value)


def test_the_other_parts_of_a_file_that_does_not_fit_are_offered(net: str, tmp_path: Path) -> None:
    state = _trained(net).state_dict()
    torch.save({"model": {"x": torch.ones(1)}, "model_ema": state, "teacher": state}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"; or take w\.pth#model_ema or w\.pth#teacher$"):
        load_model(f"{net}:small@{tmp_path}/w.pth")


def test_a_member_of_an_ensemble_says_what_was_left_out(net: str, tmp_path: Path) -> None:
    from visionscope.models.ensemble import load_subject

    state = _trained(net).state_dict()
    torch.save(_under("model.")(state) | EXTRA, tmp_path / "one.pth")
    torch.save({k: v * 2 for k, v in state.items()}, tmp_path / "two.pth")
    weights = load_subject(f"{net}:small@{tmp_path}/one.pth,{tmp_path}/two.pth").weights
    assert weights.startswith("mean of 2 checkpoints: one.pth (model, without 3 of its tensors: ")
    assert weights.endswith(", two.pth")
