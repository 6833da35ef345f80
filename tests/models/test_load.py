"""From a spec to a network: sources, weights, input configuration, identity, and every error on the way."""

import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models import hub
from visionscope.models.builders import BUILDERS
from visionscope.models.load import list_models, load_model, state_digest

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_random_weights_are_those_of_their_seed_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (load_model("vit_nano", random_weights=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.digest == again.digest != other.digest
    assert first.weights == "random, seed 0"
    torch.manual_seed(0)
    assert state_digest(timm.create_model("vit_nano"), first.architecture) == first.digest


def test_the_digest_sees_names_shapes_bytes_and_the_architecture() -> None:
    class Net(nn.Module):
        def __init__(self, name: str, value: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer(name, value)

    values = torch.tensor([1.0, 2.0])
    nets = [
        Net("a", values),
        Net("b", values),
        Net("a", values.reshape(2, 1)),
        Net("a", torch.tensor([1.0, torch.nextafter(values[1], values[0])])),
        Net("a", values.view(torch.int32)),
        Net("a", torch.tensor(1.0)),
    ]
    digests = [state_digest(net, "x") for net in nets] + [state_digest(nets[0], "y")]
    assert len(set(digests)) == len(digests)
    assert state_digest(Net("a", values.clone()), "x") == digests[0]
    strided = torch.tensor([[1.0, 0.0], [2.0, 0.0]])[:, 0]
    assert state_digest(Net("a", strided), "x") == digests[0]


def test_the_architecture_is_the_same_under_every_name_of_it() -> None:
    plain, prefixed = (load_model(spec, random_weights=0) for spec in ("vit_nano", "Mine=timm:vit_nano"))
    assert plain.architecture == prefixed.architecture == "timm:vit_nano"
    assert (plain.label, prefixed.label) == ("vit_nano", "Mine")
    one, other = (
        load_model(f"vit_nano?{query}", random_weights=0) for query in ("depth=2&num_heads=2", "num_heads=2&depth=2")
    )
    assert one.architecture == other.architecture == "timm:vit_nano?depth=2&num_heads=2"
    assert load_model("resnet18.a1_in1k", random_weights=0).architecture == "timm:resnet18"


def test_timm_models_are_asked_how_they_want_their_images() -> None:
    config = load_model("resnet18.a1_in1k", random_weights=0).input
    assert (config.size, config.mean, config.std) == ((224, 224), *IMAGENET)
    assert (config.interpolation, config.crop) == ("bicubic", 0.95)


def test_the_user_says_otherwise() -> None:
    config = load_model("resnet_nano", random_weights=0, size=48, mean=(0, 0.1, 0.2), std=(1, 2, 3)).input
    assert (config.size, config.mean, config.std) == ((48, 48), (0, 0.1, 0.2), (1, 2, 3))


@pytest.mark.parametrize("seed", [-1, 2**32, 10**40])
def test_seeds_that_no_generator_takes(seed: int) -> None:
    with pytest.raises(ConfigError, match="random_weights: must be an integer from 0 to 4294967295; got "):
        load_model("resnet_nano", random_weights=seed)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vit_nano?embed_dim=999999", "vit_nano: its weights would need [0-9,]+ GiB, and this machine has"),
        ("resnet50?base_width=1000000", "its weights would need|it needs more memory than is available"),
        ("vit_nano?mlp_ratio=1e12", "its weights would need|it needs more memory than is available|overflow"),
        ("x" * 150, r"timm has no model 'x+...x+'"),
        ("timm:hf-hub:a/b", "timm has no model 'hf-hub:a/b'"),
        ("timm:local-dir:/tmp", "timm has no model 'local-dir:/tmp'"),
        ("resnet18." + "y" * 150, "timm has no weights 'y+...y+' for resnet18"),
        ("torchvision:" + "z" * 150, "torchvision has no image model 'z+...z+'"),
        ("resnet18?act_layer=nope", "resnet18 can't be built with act_layer='nope': KeyError"),
        ("resnet18?self=1", "its name fixes self"),
        ("vit_nano?num_heads=0", "num_heads must be at least 1; got 0"),
    ],
)
def test_networks_that_there_cant_be(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(spec, random_weights=0)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 900


@pytest.mark.parametrize("size", [64, (32, 64)])
def test_a_network_of_fixed_size_is_built_at_the_size_asked_for(size: Any) -> None:
    loaded = load_model("vit_nano", random_weights=0, size=size)
    assert loaded.model(torch.zeros(1, 3, *loaded.input.size)).shape == (1, 10)
    assert load_model("vit_nano?img_size=64", random_weights=0).input.size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, r"--size must be one or two positive numbers of pixels; got \(0, 0\)"),
        ({"size": (1, 2, 3)}, r"--size must be one or two positive numbers of pixels; got \(1, 2, 3\)"),
        ({"mean": (0.5,)}, r"--mean must be three numbers, one per colour channel; got \(0.5,\)"),
        ({"std": (1.0, 0.0, 1.0)}, r"--std must be positive; got \(1.0, 0.0, 1.0\)"),
    ],
)
def test_an_impossible_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model("resnet_nano", random_weights=0, **arguments)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet51", "timm has no model 'resnet51'. Did you mean 'resnet51q'[?] `visionscope models` lists all."),
        ("resnet18.a9_in1k", "timm has no weights 'a9_in1k' for resnet18. Did you mean 'a3_in1k'[?]|Choose from"),
        ("vit_nano?num_heads=5", "vit_nano can't be built with num_heads=5: AssertionError"),
        ("torchvision:resnet51", "torchvision has no image model 'resnet51'. Did you mean 'resnet50'[?]"),
        ("torchvision:fcn_resnet51", "torchvision has no image model 'fcn_resnet51'. Did you mean 'fcn_resnet50'[?]"),
    ],
)
def test_unknown_names_and_arguments_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(spec, random_weights=0)
    assert "\n" not in str(raised.value)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no cache."""
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _unreachable)


def test_pretrained_weights_whose_head_would_be_random_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no pretrained weights are available \(they tell 10 classes apart, not 7\)"):
        load_model("resnet_nano?num_classes=7")
    assert load_model("resnet_nano?num_classes=0").num_classes == 0


def _unreachable(*_: Any, **__: Any) -> None:
    raise OSError("the network is unreachable")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("spec", ["resnet18.a1_in1k", "resnet_20_cifar", "torchvision:resnet18"])
def test_pretrained_weights_that_cant_be_had_stop_at_once_and_name_the_ways_out(spec: str) -> None:
    start = time.perf_counter()
    name = spec if ":" in spec else f"timm:{spec}"
    message = (
        rf"{name}: no pretrained weights are available .*{name}@FILE, or ask for random ones with --random-weights SEED"
    )
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(spec)
    assert "\n" not in str(raised.value)
    assert time.perf_counter() - start < 20  # the hub's own retries take 46 seconds


@pytest.mark.usefixtures("offline")
def test_without_weights_a_wrong_argument_is_still_named_first() -> None:
    with pytest.raises(ConfigError, match="resnet18 can't be built with img_size=3"):
        load_model("resnet18?img_size=3")


def test_the_hubs_client_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = hub.huggingface_hub.constants
    for answers, before in ((False, False), (True, False), (True, True)):
        monkeypatch.setattr(hub, "hub_answers", lambda answers=answers: answers)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
        with hub.cache_alone_when_offline():
            assert (before or not answers) == constants.HF_HUB_OFFLINE
        assert before == constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(("error", "answers"), [(OSError, False), (None, True)])
def test_one_probe_tells_whether_the_hub_is_there(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None, answers: bool
) -> None:
    class Answer:
        def close(self) -> None: ...

    def urlopen(request: Any, timeout: float) -> Answer:
        assert timeout <= 5
        if error:
            raise error
        return Answer()

    monkeypatch.setattr(hub.urllib.request, "urlopen", urlopen)
    assert hub.hub_answers.__wrapped__() is answers


@pytest.mark.usefixtures("offline")
def test_pretrained_weights_are_loaded_where_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own code runs down to the reading of the downloaded file."""
    torch.manual_seed(9)
    published = timm.create_model("resnet10t").state_dict()
    asked = []

    def download(model_id: str, **_: Any) -> dict[str, torch.Tensor]:
        asked.append(model_id)
        return dict(published)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", download)
    loaded = load_model("resnet10t.c3_in1k")
    assert asked == ["timm/resnet10t.c3_in1k"]
    assert loaded.weights == "pretrained"
    assert all(torch.equal(value, published[name]) for name, value in loaded.model.state_dict().items())


@pytest.mark.usefixtures("offline")
def test_torchvisions_pretrained_weights_are_loaded_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = load_model("torchvision:squeezenet1_1", random_weights=4).model.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: dict(published))
    loaded = load_model("torchvision:squeezenet1_1")
    assert (loaded.weights, loaded.num_classes) == ("pretrained", 1000)
    assert all(torch.equal(value, published[name]) for name, value in loaded.model.state_dict().items())


def test_a_small_torchvision_model() -> None:
    loaded = load_model("torchvision:shufflenet_v2_x0_5?num_classes=4", random_weights=0)
    config = loaded.input
    assert (config.size, config.mean, config.std) == ((224, 224), *IMAGENET)
    assert (config.interpolation, round(config.crop, 3), loaded.num_classes) == ("bilinear", 0.875, 4)
    assert loaded.model(torch.zeros(2, 3, 64, 64)).shape == (2, 4)


def test_torchvisions_transformer_is_built_at_the_size_asked_for() -> None:
    with torch.device("meta"):
        built = BUILDERS["torchvision"]("vit_b_16", {}, False, (64, 64))
    assert built.parts["size"] == (64, 64)
    assert built.model.encoder.pos_embedding.shape == (1, 17, 768)


@pytest.mark.slow
def test_every_torchvision_classification_model_can_be_built() -> None:
    names = [name.removeprefix("torchvision:") for name in list_models("torchvision:*")]
    assert len(names) >= 80
    for name in names:
        # torchvision's regnets compute their widths with tensors, which the meta device can't give back
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            built = BUILDERS["torchvision"](name, {}, False, None)
        assert built.num_classes == 1000
        assert min(built.parts["size"]) >= 224


def test_models_are_found_by_pattern_or_by_a_part_of_the_name() -> None:
    assert list_models("*_nano") == tuple(name for name in list_models() if name.endswith("_nano"))
    assert {"resnet_nano", "vit_nano"} <= set(list_models("_nano"))
    assert "torchvision:resnet18" in list_models("resnet18")
    assert "resnet_20_cifar" in list_models()
    assert list_models("no such model") == ()


def test_weights_of_a_file_win_over_random_ones(tmp_path: Path) -> None:
    model = load_model("resnet_nano", random_weights=0).model
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    loaded = load_model(f"resnet_nano@{tmp_path / 'a.safetensors'}", random_weights=7)
    assert loaded.weights == "checkpoint a.safetensors"
    assert torch.equal(loaded.model.fc.weight, model.fc.weight)


@pytest.mark.parametrize("spec", [None, 5, b"resnet18", ["resnet18"]])
def test_what_is_no_spec_is_told(spec):
    with pytest.raises(ConfigError, match="spec: must be a model spec such as 'resnet18'; got "):
        load_model(spec)


@pytest.mark.parametrize("seed", [True, 1.0, "0", -1, 2**32])
def test_what_is_no_seed_is_told(seed):
    with pytest.raises(ConfigError, match="random_weights: must be an integer from 0 to 4294967295; got "):
        load_model("resnet_nano", random_weights=seed)
