"""Folders of Hugging Face models that lack, hold or name what can't be read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from visionscope.errors import ConfigError
from visionscope.models.hub_folders import check_folder
from visionscope.models.load import load_model

transformers = pytest.importorskip("transformers", reason="needs the hf extra")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small network with its weights, inside an empty folder of a test's own."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        num_labels=3,
    )
    transformers.utils.logging.disable_progress_bar()
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def index_of(folder: Path, shard: Any, name: str = "model.safetensors.index.json") -> None:
    """Replaces the weights by a list of the files that hold them."""
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": {"vit.x": shard}}))


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
@pytest.mark.parametrize(
    "shard", ["../pipe", "../../../../../../../dev/zero", "/dev/zero", "inner/part.safetensors", "..", "a\0b", 3, ""]
)
def test_an_index_names_files_of_its_own_folder_alone(folder: Path, name: str, shard: Any) -> None:
    os.mkfifo(folder.parent / "pipe")
    index_of(folder, shard, name)
    with pytest.raises(
        ConfigError, match=rf"^hf:n: {name} names .*; weights must be files of the same|3 can't be read"
    ) as raised:
        check_folder("n", folder)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../pipe", "part-1.safetensors can't be read: it is a named pipe, not a file"),
        ("/dev/zero", "part-1.safetensors can't be read: it is a device, not a file"),
        ("nowhere", "part-1.safetensors can't be read: No such file"),
        ("../other", "names 'part-1.safetensors', a link out of the folder"),
    ],
)
def test_a_shard_may_be_a_link_inside_its_folder_alone(folder: Path, target: str, message: str) -> None:
    os.mkfifo(folder.parent / "pipe")
    (folder.parent / "other").write_bytes(b"")
    index_of(folder, "part-1.safetensors")
    (folder / "part-1.safetensors").symlink_to(target)
    with pytest.raises(ConfigError, match=message):
        check_folder("n", folder)
    (folder / "part-1.safetensors").unlink()
    (folder / "part-1.safetensors").symlink_to("part.safetensors")
    check_folder("n", folder)


def test_the_librarys_cache_keeps_files_beside_its_snapshots(folder: Path) -> None:
    snapshot = folder.parent / "models--a--b" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    index_of(snapshot, "shard.safetensors")
    (snapshot.parent.parent / "blobs").mkdir()
    (snapshot / "part.safetensors").rename(snapshot.parent.parent / "blobs" / "sha")
    (snapshot / "shard.safetensors").symlink_to("../../blobs/sha")
    check_folder("n", snapshot)


@pytest.mark.parametrize("named", ["../w.safetensors", "/dev/zero", "pipe", ["w"]])
def test_a_configuration_names_weights_of_its_own_folder_alone(folder: Path, named: Any) -> None:
    os.mkfifo(folder / "pipe")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "transformers_weights": named}))
    with pytest.raises(ConfigError, match=r"^hf:n: (config.json names|pipe can't be read: it is a named pipe)"):
        check_folder("n", folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": 3}', "{"])
def test_an_index_that_lists_nothing(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(
        ConfigError, match=r"^hf:n: model.safetensors.index.json (has no weight_map|can't be read as JSON)"
    ):
        check_folder("n", folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "the folder has no config.json, it is empty; name one that save_pretrained"),
        (["tokenizer.json"], "the folder has no config.json, only tokenizer.json; name one"),
        (["a", "b", "c", "d"], r"the folder has no config.json, only a, b, c, \.\.\.; name one"),
        (["checkpoint-5/config.json"], "has no config.json. Did you mean 'hf:n/checkpoint-5'"),
        (["adapter_config.json", "adapter_model.safetensors"], "the folder holds an adapter, .*merge_and_unload"),
        (["config.json", "adapter_config.json"], "the folder holds an adapter, .*merge_and_unload"),
    ],
)
def test_folders_that_hold_no_network(files: list[str], message: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    with pytest.raises(ConfigError, match=message):
        check_folder("n", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"id2label": {"0": "a", "1": "b"}},
            r"'classifier.bias' has the shape \(3,\) .*\(2,\) .*of 2 classes; correct config.json",
        ),
        ({"hidden_size": 32}, r"has the shape .* in its weights and .* in the network"),
        ({"image_size": 32}, r"'vit.embeddings.position_embeddings' has the shape"),
    ],
)
def test_weights_that_differ_from_their_configuration(folder: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(f"hf:{folder}")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (
            ["classifier.weight", "classifier.bias"],
            "its weights lack classifier.bias and 1 more, which would be random",
        ),
        (["vit.layernorm.weight"], "its weights lack vit.layernorm.weight, which would be random"),
    ],
)
def test_weights_that_would_be_drawn_at_random(folder: Path, lost: list[str], message: str) -> None:
    state = load_file(folder / "model.safetensors")
    kept = {name: torch.clone(value) for name, value in state.items() if name not in lost}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=message):
        load_model(f"hf:{folder}")
