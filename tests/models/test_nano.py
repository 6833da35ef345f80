"""The three small networks: their architectures are frozen, since weights ship for them."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from visionscope.commands.training import train_flags
from visionscope.core.objective import Objective
from visionscope.data.sources import open_source
from visionscope.flags import Parser
from visionscope.models.checkpoint import is_as_written
from visionscope.models.load import load_model
from visionscope.models.shipped import SHIPPED, card, weights_file
from visionscope.training.evaluation import clean_batches, evaluate
from visionscope.training.recipe import Recipe, choose_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "nano.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("resnet_nano", "2dcb478f5fef1761d4c0ea583124977dd30d6b5f0abe9e207e7906b175ff544b"),
        ("alternet_nano", "3e115d59d0d8699e711c53383f513ed7a9fa04a8c434b8eaee5cd6f1c5ddcea1"),
        ("vit_nano", "609d71a08534887afa0ca538f928bde80842f16099283d7461966e9965ead44f"),
    ],
)
def test_an_architecture_keeps_the_names_and_shapes_of_its_weights(name: str, digest: str) -> None:
    state = timm.create_model(name).state_dict()
    described = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert hashlib.sha256(described.encode()).hexdigest() == digest


def _asked(*_: object) -> None:
    raise AssertionError("the network was asked")


@pytest.mark.parametrize("name", SHIPPED)
def test_trained_weights_come_with_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", _asked)
    assert weights_file(name).stat().st_size < 2e6
    stored = load_file(weights_file(name))
    assert {value.dtype for value in stored.values()} <= {torch.float16, torch.int64}
    state = timm.create_model(name, pretrained=True).state_dict()
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[key], value.to(state[key].dtype)) for key, value in stored.items())
    loaded = load_model(name)
    assert (loaded.weights, loaded.num_classes) == ("pretrained", 10)
    assert loaded.digest == load_model(f"{name}@{weights_file(name)}").digest
    assert is_as_written(weights_file(name))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_tells_the_accuracy_that_is_measured_again(name: str) -> None:
    loaded = load_model(name)
    told = json.loads(card(name)["scores"])
    with torch.random.fork_rng(devices=[]):
        measured = evaluate(loaded.model, clean_batches(open_source("embedded:test"), loaded.input, 250), Objective())
    assert measured.images == told["images"] == 2000
    # Another processor adds in another order, which can turn an image whose two best logits are as good as equal.
    assert measured.top_1 == pytest.approx(told["top_1"], abs=0.001)
    assert measured.nll == pytest.approx(told["nll"], abs=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_of_the_networks_tells_what_the_files_tell(name: str) -> None:
    table = PAGE.split("<!-- results -->")[1].split("<!-- end of results -->")[0]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    scores = json.loads(card(name)["scores"])
    assert f"| {100 * scores['top_1']:.1f} % (" in row
    assert f"| {scores['nll']:.3f} |" in row
    assert f"`{load_model(name).digest[:16]}`" in row


@pytest.mark.parametrize("name", SHIPPED)
def test_the_command_on_the_page_asks_for_the_training_that_made_the_weights(name: str) -> None:
    command = next(line for line in PAGE.splitlines() if line.startswith(f"$ visionscope train {name} "))
    parser = Parser()
    train_flags(parser)
    parsed = parser.parse_args(command.split()[3:])
    changes = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(Recipe)}
    asked = json.loads(card(name)["asked"])
    recipe = json.loads(json.dumps(dataclasses.asdict(choose_recipe("laptop", changes))))
    assert recipe == asked["recipe"]
    assert (parsed.data, parsed.validation or 0, parsed.seed or 0) == (
        asked["data"],
        asked["validation"],
        asked["seed"],
    )
    assert asked["training"] == card(name)["training"]
