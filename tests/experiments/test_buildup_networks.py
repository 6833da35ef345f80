"""Networks of a build-up: candidates against `harmonize`, random placements, and what trainings begin with."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from experiments.buildups import CNN
from experiments.conftest import Inline
from training.conftest import data  # noqa: F401  # the fixture
from visionscope.building.harmonize import plan_harmonize, replacements
from visionscope.errors import ConfigError
from visionscope.experiments.buildup.networks import Network, beginning, candidate, random_networks, spec_of
from visionscope.experiments.buildup.search import Question, search_for
from visionscope.experiments.buildup.trainer import Trainer
from visionscope.experiments.sitting import Sitting
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import LoadedModel, load_model
from visionscope.models.surgery import BlockChange
from visionscope.training.networks import network_for


def test_candidates_have_the_blocks_that_harmonize_puts_in() -> None:
    loaded = load_model(CNN, random_weights=0)
    for mixer in ("", "identity"):
        slots = replacements(loaded.model, mixer=mixer, input_size=(32, 32))
        for places in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)):
            planned = plan_harmonize(loaded.model, places, mixer=mixer, input_size=(32, 32))
            assert candidate(slots, places).changes == planned.changes


def slots_of(counts: list[int], refused: int) -> tuple[tuple[BlockChange | str, ...], ...]:
    stages: list[tuple[BlockChange | str, ...]] = []
    for stage, count in enumerate(counts):
        paths = [f"layer{stage}.{block}" for block in range(count)]
        stages.append(tuple(BlockChange(path=path, like=path) for path in paths))
    return (*stages, ("it can't",) * refused)


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=3), refused=st.integers(0, 2), draw=st.data())
def test_random_placements_are_distinct_as_large_and_not_the_winners(
    counts: list[int], refused: int, draw: st.DataObject
) -> None:
    slots = slots_of(counts, refused)
    blocks = [slot for stage in slots for slot in stage if isinstance(slot, BlockChange)]
    own = draw.draw(st.lists(st.sampled_from(blocks), min_size=1, unique_by=lambda one: one.path))
    most = draw.draw(st.integers(0, 8))
    winner = Network(name="winner", changes=tuple(own))
    found = random_networks(slots, winner, most, lambda network: True)
    placed = [frozenset(change.path for change in network.changes) for network in found]
    assert len(set(placed)) == len(found) == min(most, math.comb(len(blocks), len(own)) - 1)
    assert all(len(one) == len(own) for one in placed)
    assert frozenset(change.path for change in own) not in placed
    assert [network.name for network in random_networks(slots, winner, most, lambda network: True)] == [
        network.name for network in found
    ]


def test_a_draw_ends_where_too_many_placements_are_refused() -> None:
    slots, asked = slots_of([4, 4, 4], 0), list[str]()
    winner = Network(name="winner", changes=tuple(slot for slot in slots[0] if isinstance(slot, BlockChange)))

    def refuses(network: Network) -> bool:
        asked.append(network.name)
        return False

    assert random_networks(slots, winner, 2, refuses) == ()
    assert len(asked) == 2 * 20  # of 494


def test_every_placement_is_drawn_about_as_often() -> None:
    """Of 6 blocks one is the winner; the first of the draws is each of the others for some order of the blocks."""
    paths = [f"layer{index}" for index in range(6)]
    first = set()
    for shift in range(6):
        turned = tuple(BlockChange(path=path, like=path) for path in (*paths[shift:], *paths[:shift]))
        winner = Network(name="", changes=(BlockChange(path="layer0", like="layer0"),))
        first.add(random_networks((turned,), winner, 1, lambda network: True)[0].name)
    assert len(first) >= 3


def test_trainings_begin_with_the_weights_of_a_file_and_then_with_those_of_the_parent(
    data: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    file, run = tmp_path / "pretrained.safetensors", tmp_path / "run"
    given_weights = network_for(CNN, 5, seed=7, note=lambda line: None)
    save_checkpoint(
        file,
        given_weights.model,
        num_classes=5,
        arguments=given_weights.spec.arguments,
        config=given_weights.input,
    )
    # The file says which network it is of: the spec need not.
    question = Question(model=f"resnet_nano@{file}", data=data, recipe="pico", changes={"epochs": 0.2}, fraction=0.2)
    search = search_for(question, seeds=2, budget=None, run=run, note=lambda line: None)
    assert question.fine_tunes
    trainer = Trainer(search, Inline(), Sitting(), run, lambda line: None)
    start = search.network((0, 0, 0))
    later = search.network((0, 0, 1), start)
    assert trainer.trained([start, later], [1]) == {}
    assert set(trainer.held) == {"0,0,0", "0,0,1"}

    def weights(network: Network, moment: str) -> dict[str, torch.Tensor]:
        return load_file(trainer.weights(network, 1).with_name(f"{moment}.safetensors"))

    pretrained, began = load_file(file), weights(start, "init")
    differing = {name for name, value in began.items() if not torch.equal(value, pretrained[name])}
    head = {name for name in began if began[name].shape != pretrained[name].shape}
    assert differing == head != set()  # 3 classes, not 5: a fresh head, and all else from the file
    trained, later_began = weights(start, "last"), weights(later, "init")
    shared = set(later_began) & {name for name in trained if not name.startswith("layer3.1.")}
    assert len(shared) > 20
    assert all(torch.equal(later_began[name], trained[name]) for name in shared)
    assert any(not torch.equal(trained[name], began[name]) for name in shared)  # it was trained
    fresh = [name for name in later_began if name not in shared]
    assert fresh
    assert all(name.startswith("layer3.1.") for name in fresh)
    drawn = network_for(search.spec(search.network((0, 0, 1))), 3, seed=1, note=lambda line: None).model.state_dict()
    assert all(later_began[name].shape == drawn[name].shape for name in fresh)
    # Another beginning is another training.
    cold = search.network((0, 0, 1))
    trainer.trained([cold], [1])
    assert len({path.parent for path in run.glob("train/*/last.safetensors")}) == 3
    began_cold = weights(cold, "init")
    assert all(torch.equal(began_cold[name], pretrained[name]) for name in shared - head)


def test_a_beginning_that_is_there_is_left_as_it_is_and_a_torn_one_is_made_again(
    data: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    network = candidate(replacements(load_model(CNN, random_weights=0).model, input_size=(32, 32)), (0, 0, 1))
    loads: list[int] = []

    def load() -> LoadedModel:
        loads.append(1)
        return network_for(CNN, 3, seed=0, note=lambda line: None)

    path = beginning(network, 4, tmp_path, source="a", load=load, classes=3)
    content = path.read_bytes()
    assert beginning(network, 4, tmp_path, source="a", load=load, classes=3) == path
    assert len(loads) == 1
    path.write_bytes(content[:-8])
    beginning(network, 4, tmp_path, source="a", load=load, classes=3)
    assert path.read_bytes() == content
    others = [beginning(network, 5, tmp_path, source="a", load=load, classes=3)]
    others.append(beginning(network, 4, tmp_path, source="b", load=load, classes=3))
    assert len({path, *others}) == 3


def test_only_the_block_that_the_parent_lacks_is_fresh(tmp_path: Path) -> None:
    base = load_model(CNN, random_weights=0)
    slots = replacements(base.model, input_size=(32, 32))
    parent = candidate(slots, (0, 0, 1))
    child = candidate(slots, (0, 1, 1), parent)

    def load() -> LoadedModel:
        return network_for(spec_of(base.spec, (), parent), 3, seed=9, note=lambda line: None)

    began = load_file(beginning(child, 4, tmp_path, source="a", load=load, classes=3))
    trained = load().model.state_dict()
    shared = {name for name in began if not name.startswith("layer2.1.")}
    assert any(name.startswith("layer3.1.") for name in shared)
    assert all(torch.equal(began[name], trained[name]) for name in shared)


def test_weights_that_are_not_available_are_one_line(data: str, tmp_path: Path) -> None:  # noqa: F811
    question = Question(model="resnet_pico", data=data, recipe="pico", pretrained=True)
    said = r"^timm:resnet_pico: no pretrained weights .*, timm:resnet_pico@FILE, or leave out --from-pretrained"
    with pytest.raises(ConfigError, match=said):
        search_for(question, seeds=2, budget=None, run=tmp_path, note=lambda line: None)
