"""A network with other blocks, named in a line of text: what it is, what tells it from others, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from visionscope.building.harmonize import harmonize, plan_harmonize
from visionscope.errors import ConfigError
from visionscope.models.load import load_model
from visionscope.models.spec import parse_spec
from visionscope.models.surgery import changes_of, changes_text
from visionscope.training.asked import initial_weights
from visionscope.training.networks import network_for
from visionscope.training.snapshots import Keeper

CNN = "resnet_nano?channels=(8,8,8)&stem_width=4&layers=(2,2,2)"
SIZE = (16, 16)


@pytest.fixture(scope="module")
def text() -> str:
    base = load_model(CNN, random_weights=0, size=16)
    return changes_text(plan_harmonize(base.model, (0, 0, 1), input_size=SIZE).changes)


def test_the_spec_is_the_harmonized_network(text: str) -> None:
    named = load_model(f"{CNN}&block_changes={text}", random_weights=3)
    made = harmonize(load_model(CNN, random_weights=3).model, (0, 0, 1), input_size=SIZE, seed=3)
    ours, theirs = named.model.state_dict(), made.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert changes_of(named.model) == changes_of(made)


def test_its_identity_is_its_own(text: str) -> None:
    other = text.replace('"num_heads": 12', '"num_heads": 6')
    assert other != text
    specs = (CNN, f"{CNN}&block_changes={text}", f"{CNN}&block_changes={other}")
    assert len({initial_weights(load_model(spec, random_weights=0)) for spec in specs}) == 3


def test_it_is_read_back_and_its_label_stays_short(text: str) -> None:
    spec = parse_spec(f"{CNN}&block_changes={text}")
    again = parse_spec(spec.text)
    assert again.arguments == spec.arguments
    assert json.loads(again.arguments["block_changes"]) == json.loads(text)
    assert len(spec.label) < 100


def test_a_head_of_the_data_keeps_the_blocks_and_the_file_names_them_once(text: str, tmp_path: Path) -> None:
    spec = f"{CNN}&block_changes={text}"
    loaded = network_for(spec, 7, seed=1, drop_path=0.1, note=lambda line: None)
    keeper = Keeper(tmp_path, loaded, 7, writes=True, training="t", metadata={})
    keeper.keep("last", loaded.model)
    file = tmp_path / "last.safetensors"
    for name in (f"{CNN}@{file}", f"{spec}@{file}", f"resnet_nano@{file}"):
        back = load_model(name)
        assert changes_of(back.model) == changes_of(loaded.model), name
        assert back.num_classes == 7
        assert torch.equal(back.model(torch.ones(1, 3, 32, 32)), loaded.model.eval()(torch.ones(1, 3, 32, 32)))
    other = text.replace('"num_heads": 12', '"num_heads": 6')
    with pytest.raises(ConfigError, match=r"block_changes are not those of the file"):
        load_model(f"{CNN}&block_changes={other}@{file}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nonsense", r"block_changes: must be a JSON list of blocks.*got 'nonsense'"),
        ("{}", r"block_changes: must be a JSON list of blocks"),
        ('[{"path":"a"}]', r"block_changes: each of blocks must say path and like"),
        ('[{"path":"stages.9","like":"stages.9"}]', r"block stages\.9.*can't be put into"),
    ],
)
def test_what_names_no_blocks_is_refused(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(f"{CNN}&block_changes={given}", random_weights=0)
