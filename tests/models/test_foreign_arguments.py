"""What a file of weights may ask of a constructor."""

from pathlib import Path
from typing import Any

import pytest

from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.foreign_arguments import check_foreign
from visionscope.models.load import load_model

INPUT = InputConfig(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"checkpoint_path": "/etc/passwd"},
        {"checkpoint_path": 0},
        {"pretrained": True},
        {"pretrained": 1},
        {"pretrained_cfg": {"file": "/etc/passwd"}},
        {"pretrained_cfg_overlay": {}},
        {"cache_dir": "/tmp"},
        {"weights": "DEFAULT"},
        {"weights_backbone": None},
        {"download": True},
        {"file": "weights.pth"},
        {"root": "~"},
        {"act_layer": "os.system"},
        {"act_layer": "../gelu"},
        {"norm_layer": "https://example.org"},
        {"global_pool": ["avg", "/"]},
        {"block_args": {"checkpoint_path": 1}},
        {"block_args": {"name": "x"}},
        {"not a name": 1},
        {"depth": 10**9},
        {"num_classes": -1},
        {"num_classes": 10**12},
        {"a": 2**64},
        {"a": float("nan")},
        {"a": [[[[[1]]]]]},
    ],
)
def test_what_may_open_fetch_or_never_end_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint .*last.pth: (its metadata ask for|in its metadata)") as raised:
        check_foreign(tmp_path / "last.pth", arguments)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 2, "num_heads": 3, "drop_path_rate": 0.1, "embed_dim": 96, "my_own": 4, "sizes": [1, 2, [3, None]]},
        {"qkv_bias": False, "global_pool": "avg", "act_layer": "gelu_tanh", "kernel_size": "whole"},
        {"block_args": {"rate": 0.1, "qk_norm": True}},
    ],
)
def test_what_says_how_a_network_is_made_is_taken(arguments: dict[str, Any], tmp_path: Path) -> None:
    check_foreign(tmp_path / "last.pth", arguments)


def test_the_user_may_say_what_a_file_may_not(tmp_path: Path) -> None:
    factory = """
from torch import nn
def make(path="a", width=2):
    model = nn.Sequential(nn.Conv2d(3, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert path == "a" or not open(path).close()
    return model
"""
    (tmp_path / "net.py").write_text(factory)
    spec, path = f"{tmp_path}/net.py:make", tmp_path / "last.safetensors"
    asked = {"random_weights": 0, "size": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}
    model = load_model(f"{spec}?width=3", **asked).model
    save_checkpoint(path, model, num_classes=3, arguments={"width": 3, "path": str(tmp_path / "net.py")}, config=INPUT)
    with pytest.raises(ConfigError, match=r"ask for path='.*', which a file may not set; .*: MODEL[?]path=...@FILE"):
        load_model(f"{spec}@{path}")
    loaded = load_model(f"{spec}?path={tmp_path}/net.py@{path}")
    assert loaded.model[0].out_channels == 3
    assert loaded.spec.arguments == {"width": 3, "path": str(tmp_path / "net.py")}


def test_timms_own_file_argument_never_reaches_it(tmp_path: Path) -> None:
    loaded = load_model("vit_nano", random_weights=0)
    path = tmp_path / "last.safetensors"
    other = tmp_path / "other.pth"
    save_checkpoint(path, loaded.model, num_classes=10, arguments={"checkpoint_path": str(other)}, config=loaded.input)
    with pytest.raises(ConfigError, match=r"its metadata ask for checkpoint_path=.*, which a file may not set$"):
        load_model(f"vit_nano@{path}")
