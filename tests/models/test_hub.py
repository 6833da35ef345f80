"""Hugging Face classification models from configurations and folders."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from visionscope.errors import ConfigError
from visionscope.models import hub
from visionscope.models.load import load_model

transformers = pytest.importorskip("transformers", reason="needs the hf extra")

FAMILIES = json.loads((Path(__file__).parent.parent / "golden" / "hf_kinds.json").read_text())["models"]


def _config(family: str, **more: Any) -> Any:
    arguments = {**FAMILIES[family]["config"], **more}
    return transformers.AutoConfig.for_model(arguments.pop("model_type"), **arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_built_from_its_configuration(family: str, tmp_path: Path) -> None:
    _config(family).save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}/config.json", random_weights=0, size=64)
    with torch.inference_mode():
        logits = loaded.model(torch.zeros(1, 3, *loaded.input.size)).logits
    assert logits.shape == (1, FAMILIES[family]["config"]["num_labels"])
    assert loaded.num_classes == logits.shape[1]
    assert (loaded.weights, loaded.label) == ("random, seed 0", f"hf:{tmp_path.name}")


def test_a_folder_with_weights_is_pretrained_and_the_same_network(tmp_path: Path) -> None:
    _config("vit").save_pretrained(tmp_path)
    drawn = load_model(f"hf:{tmp_path}", random_weights=3)
    with pytest.raises(ConfigError, match=r"no pretrained weights are available .*--random-weights SEED") as raised:
        load_model(f"hf:{tmp_path}")
    assert "\n" not in str(raised.value)
    transformers.utils.logging.disable_progress_bar()
    drawn.model.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.weights == "pretrained"
    assert loaded.digest == drawn.digest
    with pytest.raises(ConfigError, match="a configuration file comes without weights"):
        load_model(f"hf:{tmp_path}/config.json")
    again = load_model(f"hf:{tmp_path}/config.json@{tmp_path}/model.safetensors")
    assert again.digest == drawn.digest


def test_a_file_with_the_librarys_older_names_is_checked_as_strictly(tmp_path: Path) -> None:
    _config("vit").save_pretrained(tmp_path)
    load_model(f"hf:{tmp_path}", random_weights=3).model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["vit.layernorm.weight"]
    state["extra"] = torch.zeros(2)
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(ConfigError, match=r"1 missing: vit\.layernorm.weight; 1 unexpected: extra$"):
        load_model(f"hf:{tmp_path}@{tmp_path}/wrong.safetensors")


def test_the_head_follows_the_checkpoint(tmp_path: Path) -> None:
    _config("deit").save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}?num_labels=3", random_weights=0).model
    torch.save(model.state_dict(), tmp_path / "three.bin")
    assert load_model(f"hf:{tmp_path}@{tmp_path}/three.bin").num_classes == 3


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({}, ((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", 1.0)),
        (
            {"size": {"height": 48, "width": 40}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "resample": 3},
            ((48, 40), (0, 0, 0), (1, 1, 1), "bicubic", 1.0),
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            ((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", 0.875),
        ),
        (
            {"size": 256, "crop_size": 224, "do_center_crop": False, "resample": 0},
            ((256, 256), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "nearest", 1.0),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
            ((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", 0.875),
        ),
    ],
)
def test_the_image_processor_says_how_images_are_wanted(
    tmp_path: Path, processor: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    _config("convnext", image_size=32).save_pretrained(tmp_path)
    if processor:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    config = load_model(f"hf:{tmp_path}", random_weights=0).input
    assert (config.size, config.mean, config.std, config.interpolation, config.crop) == expected


def test_an_image_size_in_the_spec_wins_over_the_processor(tmp_path: Path) -> None:
    _config("vit").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 48, "width": 48}}')
    assert load_model(f"hf:{tmp_path}?image_size=16", random_weights=0).input.size == (16, 16)
    assert load_model(f"hf:{tmp_path}", random_weights=0, size=24).model.config.image_size == 24


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?hidden_sise=8", "the model has no argument 'hidden_sise'. Did you mean 'hidden_size'[?]"),
        ("?hidden_act=nothing", "can't be built with hidden_act='nothing': KeyError"),
    ],
)
def test_arguments_that_a_configuration_refuses(tmp_path: Path, query: str, message: str) -> None:
    _config("vit").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_model(f"hf:{tmp_path}{query}", random_weights=0)


def test_models_that_classify_no_images_are_refused(tmp_path: Path) -> None:
    transformers.AutoConfig.for_model("bert").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"can't be built with no arguments: ValueError: .*BertConfig"):
        load_model(f"hf:{tmp_path}", random_weights=0)


def test_a_name_that_cant_be_had_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = r"hf:nobody/no-vit: its configuration is not available \(.*\); name a folder or a config.json"
    with pytest.raises(ConfigError, match=message) as raised:
        load_model("hf:nobody/no-vit", random_weights=0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrap", "weights"),
    [
        (
            lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()} | {"loss.weight": torch.ones(3)}},
            "checkpoint w.ckpt (state_dict.model, without 1 of its tensors: loss.weight)",
        ),
        (
            lambda state: {"ema": {"module": {f"net.{k}": v for k, v in state.items()}}},
            "checkpoint w.ckpt (ema.module.net)",
        ),
    ],
)
def test_weights_of_a_hub_model_under_a_prefix(wrap: Any, weights: str, tmp_path: Path, capfd: Any) -> None:
    _config("vit").save_pretrained(tmp_path)
    first = load_model(f"hf:{tmp_path}/config.json", random_weights=5).model
    torch.save(wrap(first.state_dict()), tmp_path / "w.ckpt")
    capfd.readouterr()
    loaded = load_model(f"hf:{tmp_path}/config.json@{tmp_path}/w.ckpt")
    assert loaded.weights == weights
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in loaded.model.state_dict().items())
    assert capfd.readouterr().err == ""  # the library's own report of names that it did not find stays away


CODE = """
from pathlib import Path
Path({mark!r}).write_text("run")
from transformers import ViTConfig, ViTForImageClassification
class Own(ViTConfig): model_type = "own"
class Net(ViTForImageClassification): config_class = Own
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModelForImageClassification": "code.Net"}}, "names code of its own, .*code.Net.*never run"),
        ({"auto_map": {"AutoConfig": "code.Own"}, "model_type": "own"}, "names code of its own"),
        ({"auto_map": {"AutoConfig": "evil/repo--code.Own"}}, "names code of its own"),
        ({"model_type": "bert", "auto_map": {"AutoModelForImageClassification": "code.Net"}}, "names code of its own"),
        ({"backbone_config": {"auto_map": {"AutoBackbone": "code.Net"}}}, "names code of its own"),
        (
            {"model_type": "timm_wrapper", "architecture": "resnet18", "model_args": {"checkpoint_path": "x.pth"}},
            "asks for model_args.checkpoint_path, which a configuration may not set",
        ),
        ({"num_hidden_layers": 10**9}, "config.json: num_hidden_layers must be at most 1,000"),
        ({"image_size": 10**9}, "config.json: image_size must be at most 16,384"),
        ({"num_attention_heads": 0}, "config.json: num_attention_heads must be at least 1; got 0"),
        (
            {"encoder_layers_of_mine": 10**9},
            "config.json: encoder_layers_of_mine must be at most 1,000; got 1,000,000,000",
        ),
        ({"pooler_output_size": 2**40}, "config.json: pooler_output_size must be at most 1,048,576"),
        ({"hidden_size": 10**6, "intermediate_size": 10**6}, "its weights would need .* GiB, and this machine has"),
        ({"backbone_config": {"depths": [2, 10**9]}}, "config.json: depths must be at most 1,000"),
        ({"model_type": "timm_wrapper", "architecture": "local-dir:."}, "asks for architecture='local-dir:.'"),
    ],
)
@pytest.mark.parametrize("place", ["", "/config.json"])
def test_code_that_comes_with_a_model_is_never_run(
    changes: dict[str, Any], message: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(question: str = "") -> str:
        pytest.fail(f"asked: {question}")

    monkeypatch.setattr("builtins.input", asked)
    _config("vit").save_pretrained(tmp_path)
    (tmp_path / "code.py").write_text(CODE.format(mark=str(tmp_path / "mark")))
    content = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(content))
    for seed in (None, 0):
        with pytest.raises(ConfigError, match=message) as raised:
            load_model(f"hf:{tmp_path}{place}", random_weights=seed)
        assert "\n" not in str(raised.value)
        assert "trust_remote_code" not in str(raised.value)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "config.json can't be read as JSON"),
        ("config.json", b"[1]", "must be a JSON object"),
        ("config.json", b"[" * 100_000, "config.json can't be read as JSON: it is nested too deeply"),
        ("config.json", b"\xff\xfe", "config.json can't be read as JSON"),
        ("config.json", None, "config.json can't be read: it is a named pipe, not a file"),
        ("model.safetensors", None, "model.safetensors can't be read: it is a named pipe, not a file"),
        ("pytorch_model.bin", None, "pytorch_model.bin can't be read: it is a named pipe, not a file"),
        ("preprocessor_config.json", None, "preprocessor_config.json can't be read: it is a named pipe, not a file"),
        ("generation_config.json", None, "generation_config.json can't be read: it is a named pipe"),
        ("pytorch_model.bin", b"PK\x03\x04" + b"\0" * 40, "it is not a readable torch file"),
        ("preprocessor_config.json", b'{"size": {"height": 3}}', "how it wants its images can't be read"),
        ("preprocessor_config.json", b'{"size": {"height": "a", "width": 3}}', "--size must be"),
        ("preprocessor_config.json", b'{"image_mean": 3}', "how it wants its images can't be read"),
        ("preprocessor_config.json", b'{"image_mean": [NaN, NaN, NaN]}', "--mean must be finite numbers"),
        ("preprocessor_config.json", b'{"size": 1000000000}', "--size must be at most 16,384 pixels along a side"),
    ],
)
def test_folders_with_damaged_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    _config("vit").save_pretrained(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(f"hf:{tmp_path}", random_weights=0)
    assert str(raised.value).isprintable()


def test_the_content_of_a_configuration_is_part_of_identity(tmp_path: Path) -> None:
    _config("vit").save_pretrained(tmp_path)
    first = load_model(f"hf:{tmp_path}", random_weights=0)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "hidden_act": "relu"}))
    assert load_model(f"hf:{tmp_path}", random_weights=0).digest != first.digest
