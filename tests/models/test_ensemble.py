"""Ensembles of several files and of passes with dropout: their mean, their identity, what they refuse."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from running.networks import tokens
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.ensemble import Ensemble, load_subject
from visionscope.models.load import load_model
from visionscope.models.spec import parse_spec

INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


class Dropping(nn.Module):
    """Dropout in every way: by module, of whole channels, and by function; one of rate 0 that counts for nothing."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 4, stride=4)
        self.channels = nn.Dropout2d(rate / 2)
        self.head = nn.Linear(6, 5)
        self.none = nn.Dropout(0.0)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        x = self.none(self.channels(self.body(x))).mean((2, 3))
        return self.head(F.dropout(x, p=self.rate, training=self.training))


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def dropping(rate: float = 0.5) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return Dropping(rate).double().eval()


def test_the_prediction_is_the_mean_of_probabilities() -> None:
    members = [tokens().double().eval(), tokens().double().eval()]
    with torch.no_grad():
        for value in members[1].parameters():
            value.mul_(1.5)
        found = Ensemble(members)(images())
        wanted = torch.stack([member(images()).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(found.softmax(1), wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(found, wanted.log(), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(wanted, members[0](images()).softmax(1))


def test_nothing_underflows() -> None:
    class Sure(nn.Module):
        def __init__(self, of: int) -> None:
            super().__init__()
            self.of = of

        def forward(self, x: Tensor) -> Tensor:
            return 2000 * F.one_hot(torch.full((len(x),), self.of), 3).float()

    found = Ensemble([Sure(0), Sure(1)])(torch.zeros(1, 3, 4, 4))
    assert found[0].tolist() == pytest.approx([-math.log(2), -math.log(2), -2000])


def test_a_pass_is_one_network_whatever_the_batches_and_the_state_of_generators() -> None:
    model = Ensemble([dropping()], n_forward=4, seed=7).eval()
    with torch.no_grad():
        whole = model(images())
        before = torch.random.get_rng_state()
        pieces = torch.cat([model(piece) for piece in images().split([1, 3, 2])])
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
        assert torch.equal(copy.deepcopy(model)(images()), whole)
        assert not torch.allclose(Ensemble([dropping()], n_forward=4, seed=8)(images()), whole)
        assert not torch.allclose(Ensemble([dropping()], n_forward=3, seed=7)(images()), whole)
        assert not any(module.training for module in model.modules())


def test_masks_keep_the_mean_and_leave_out_the_share_they_should() -> None:
    """Over many passes the mean of what a dropout lets through is what went in, within 4 standard errors."""
    seen = []

    class Showing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(F.dropout(x, 0.3, training=False))
            return seen[-1].flatten(1)

    ones = torch.ones(2, 1, 10, 10)
    Ensemble([Showing()], n_forward=50)(ones)
    kept = torch.stack(seen)
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float(kept.mean()) == pytest.approx(1, abs=4 * math.sqrt(0.3 / 0.7 / 5000))
    assert not torch.equal(kept[0], kept[1])


def test_whole_channels_are_left_out_together() -> None:
    seen = []

    class Showing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(F.dropout2d(x, 0.5, training=False))
            return seen[-1].mean((2, 3))

    Ensemble([Showing()], n_forward=3)(torch.ones(2, 40, 3, 3))
    for map in seen:
        assert torch.equal(map, map[:1, :, :1, :1].expand_as(map))
    assert 0 < float(torch.stack(seen).mean()) < 2


def test_passes_without_dropout_are_refused() -> None:
    wanted = r"n_forward: needs a network with dropout of a rate above 0, or all passes are equal; got 3, take 1"
    for model in (tokens().double().eval(), dropping(0.0)):
        with pytest.raises(ConfigError, match=wanted):
            Ensemble([model], n_forward=3)(images())
    with pytest.raises(ConfigError, match="n_forward: must be at least 1; got 0"):
        Ensemble([dropping()], n_forward=0)
    with pytest.raises(ConfigError, match="an ensemble needs at least one network"):
        Ensemble([])


def test_one_pass_leaves_dropout_off() -> None:
    with torch.no_grad():
        plain = dropping()(images())
        torch.testing.assert_close(Ensemble([dropping()])(images()), plain.log_softmax(1), rtol=0, atol=1e-12)


def saved(folder: Path, seeds: tuple[int, ...], **more: str) -> list[str]:
    paths = []
    for seed in seeds:
        loaded = load_model("vit_nano?num_classes=4", random_weights=seed)
        path = folder / f"{seed}.safetensors"
        save_checkpoint(path, loaded.model, num_classes=4, arguments={}, config=INPUT, **more)
        paths.append(str(path))
    return paths


def test_files_after_one_another_are_an_ensemble(tmp_path: Path) -> None:
    one, two = saved(tmp_path, (0, 1), asked='{"fraction": 0.5}')
    loaded = load_subject(f"both=vit_nano@{one},{two}")
    assert isinstance(loaded.model, Ensemble)
    assert (loaded.label, loaded.num_classes, loaded.input, loaded.fraction) == ("both", 4, INPUT, 0.5)
    assert loaded.weights == f"mean of 2 checkpoints: {Path(one).name}, {Path(two).name}"
    assert parse_spec(f"both={loaded.spec.text}").others == (Path(two),)
    pixels = torch.zeros(1, 3, 32, 32)
    singles = [load_subject(f"vit_nano@{path}") for path in (one, two)]
    with torch.no_grad():
        wanted = torch.stack([single.model(pixels).softmax(1) for single in singles]).mean(0)
        torch.testing.assert_close(loaded.model(pixels).softmax(1), wanted)
    assert len({loaded.digest, *(single.digest for single in singles)}) == 3


def test_the_identity_depends_on_every_member_and_on_the_passes(tmp_path: Path) -> None:
    paths = saved(tmp_path, (0, 1, 2))
    base = f"x=vit_nano?proj_drop_rate=0.1@{paths[0]}"
    asked = [
        load_subject(f"{base},{paths[1]}"),
        load_subject(f"{base},{paths[2]}"),
        load_subject(f"{base},{paths[1]},{paths[2]}"),
        load_subject(f"{base},{paths[1]}", n_forward=2),
        load_subject(f"{base},{paths[1]}", n_forward=3),
        load_subject(f"{base},{paths[1]}", n_forward=3, seed=1),
        load_subject(base, n_forward=2),
        load_subject(base),
    ]
    assert len({loaded.digest for loaded in asked}) == len(asked)
    assert asked[0].digest == load_subject(f"{base},{paths[1]}", seed=5).digest
    assert asked[-1].digest == load_model(base).digest
    assert "; 2 passes with dropout" in asked[-2].weights


def test_members_of_which_a_mean_means_nothing(tmp_path: Path) -> None:
    one, two = saved(tmp_path, (0, 1))
    other = load_model("vit_nano?num_classes=7", random_weights=0)
    more = tmp_path / "more.safetensors"
    save_checkpoint(more, other.model, num_classes=7, arguments={}, config=INPUT)
    with pytest.raises(ConfigError, match=r"both: .*0.safetensors holds the weights of another member; name each once"):
        load_subject(f"both=vit_nano@{one},{two},{one}")
    with pytest.raises(ConfigError, match=r"both: members must agree in .*more.safetensors has .*7"):
        load_subject(f"both=vit_nano@{one},{more}")
    with pytest.raises(ConfigError, match=r"there is no such file"):
        load_subject(f"both=vit_nano@{one},{tmp_path / 'absent.safetensors'}")
    with pytest.raises(ConfigError, match=r"both: names 2 files, an ensemble; one network is needed here"):
        load_model(f"both=vit_nano@{one},{two}")
    with pytest.raises(ConfigError, match=r"vit_nano@0: n_forward: needs a network with dropout"):
        load_subject(f"vit_nano@{one}", n_forward=2)


def test_a_spec_of_several_files_is_read_and_written() -> None:
    spec = parse_spec("vit_nano?depth=3@a/last.pth,b/last.pth,~/c.pth")
    assert spec.checkpoint == Path("a/last.pth")
    assert spec.others == (Path("b/last.pth"), Path.home() / "c.pth")
    assert spec.label == "vit_nano?depth=3@3 files"
    assert parse_spec(spec.text) == spec
    for text in ("vit_nano@a,", "vit_nano@,a", "vit_nano@a,,b"):
        with pytest.raises(ConfigError, match="a checkpoint's file must follow '@'"):
            parse_spec(text)
