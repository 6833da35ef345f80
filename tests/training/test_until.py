"""A training that ends at a snapshot and is gone on with, one that is scored at its end alone, and its identity."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.conftest import SMALL
from training.test_loop import same_bits
from visionscope.data.digest import source_digest
from visionscope.models.load import LoadedModel
from visionscope.training.asked import initial_weights, training_digest
from visionscope.training.launching import open_splits
from visionscope.training.networks import network_for
from visionscope.training.recipe import choose_recipe
from visionscope.training.terms import Terms
from visionscope.training.train import train

ASKED = {"epochs": 4.0, "batch_size": 32, "warm_up": 0.3}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(SMALL, data, tmp_path_factory.mktemp("whole"), **ASKED, threads=1).checkpoint.parent


@pytest.mark.parametrize("snapshot", ["warmup", "epoch-0002"])
def test_what_ends_at_a_snapshot_is_gone_on_with_to_the_same_bits(snapshot: str, data: str, tmp_path: Path) -> None:
    asked = {**ASKED, "snapshots": (2,)}
    uninterrupted = train(SMALL, data, tmp_path / "whole", **asked).checkpoint.parent
    begun = train(SMALL, data, tmp_path / "begun", **asked, until=snapshot)
    folder = begun.checkpoint.parent
    assert begun.scores is None
    assert not begun.checkpoint.exists()
    assert same_bits(folder / f"{snapshot}.safetensors", uninterrupted / f"{snapshot}.safetensors")
    # What is there is not trained again.
    written = (folder / f"{snapshot}.safetensors").stat().st_mtime_ns
    train(SMALL, data, tmp_path / "begun", **asked, until=snapshot)
    assert (folder / f"{snapshot}.safetensors").stat().st_mtime_ns == written
    ended = train(SMALL, data, tmp_path / "begun", **asked)
    assert ended.checkpoint.parent == folder
    assert same_bits(ended.checkpoint, uninterrupted / "last.safetensors")
    losses = [[(row["step"], row["loss"]) for row in rows(one)] for one in (folder, uninterrupted)]
    assert losses[0] == losses[1]


def test_the_beginning_alone_takes_no_step(data: str, tmp_path: Path) -> None:
    folder = train(SMALL, data, tmp_path, **ASKED, until="init").checkpoint.parent
    assert sorted(path.name for path in folder.glob("*.safetensors")) == ["init.safetensors"]


def test_scored_at_the_end_alone_has_the_weights_and_the_last_row_of_one_scored_every_epoch(
    data: str, whole: Path, tmp_path: Path
) -> None:
    ended = train(SMALL, data, tmp_path, **ASKED, threads=1, scored="end")
    assert ended.checkpoint.parent.name == whole.name  # scoring makes no other training of it
    assert same_bits(ended.checkpoint, whole / "last.safetensors")
    every, end = rows(whole), rows(ended.checkpoint.parent)
    scores = ("top_1", "top_5", "nll", "nll_train")
    assert [[row[name] for name in scores] for row in end[:-1]] == [["", "", "", ""]] * 3
    assert [end[-1][name] for name in (*scores, "loss")] == [every[-1][name] for name in (*scores, "loss")]


def test_held_out_images_may_be_scored_at_the_end_alone_and_no_epoch_is_then_the_best(
    data: str, tmp_path: Path
) -> None:
    asked = {"epochs": 2, "batch_size": 32, "validation": 0.25, "threads": 1}
    every, end = (
        train(SMALL, data, tmp_path / scored, **asked, scored=scored).checkpoint.parent for scored in ("epochs", "end")
    )
    assert every.name == end.name
    assert [folder.joinpath("best.safetensors").exists() for folder in (every, end)] == [True, False]
    assert [row["top_1"] for row in rows(end)[:-1]] == [""]
    assert rows(end)[-1]["top_1"] == rows(every)[-1]["top_1"]
    assert rows(end)[-1]["nll"] == rows(every)[-1]["nll"]


def test_the_digest_is_known_before_the_training_and_tells_threads_and_data_apart(data: str, whole: Path) -> None:
    sources = open_splits(data)
    digests = [source_digest(source) for source in sources]
    recipe = choose_recipe("laptop", ASKED)

    def digest(threads: int | None = 1, digests: list[str] = digests, **changes: int) -> str:
        terms = Terms(**changes)
        loaded = network_for(SMALL, 3, seed=terms.seed, drop_path=recipe.drop_path, note=lambda line: None)
        return training_digest(loaded, recipe, terms, digests, threads=threads)

    assert digest()[:12] == whole.name
    assert len({digest(), digest(None), digest(2), digest(seed=1), digest(digests=digests[::-1])}) == 5


def test_threads_are_put_back(data: str, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    train(SMALL, data, tmp_path, **ASKED, threads=before + 1, until="init")
    assert torch.get_num_threads() == before


def test_random_weights_of_another_processor_are_the_same_training_and_those_of_a_file_are_not(tmp_path: Path) -> None:
    def loaded(spec: str, seed: int = 0) -> LoadedModel:
        return network_for(spec, 10, seed=seed, note=lambda line: None)

    here, elsewhere = loaded("vit_pico"), loaded("vit_pico")
    with torch.no_grad():
        elsewhere.model.pos_embed.mul_(1 + 1e-7)
    assert not torch.equal(here.model.pos_embed, elsewhere.model.pos_embed)
    assert initial_weights(here) == initial_weights(elsewhere)
    others = [loaded("vit_pico", 1), loaded("vit_pico?classifier=gap"), loaded("vit_pico?embed_dim=24")]
    assert len({initial_weights(one) for one in (here, *others)}) == 4

    files = [tmp_path / name for name in ("here.safetensors", "elsewhere.safetensors")]
    for file, one in zip(files, (here, elsewhere), strict=True):
        save_file(one.model.state_dict(), file)
    stored = {initial_weights(loaded(f"vit_pico?num_classes=10@{file}")) for file in files}
    assert len(stored | {initial_weights(here)}) == 3
