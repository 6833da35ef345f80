"""Turns trainings of the three small networks into the weights that ship, and writes the tables of docs/nano.md.

    python docs/make_nano_networks.py RUN/train/DIGEST/last.safetensors ...
    python docs/make_nano_networks.py

A file's metadata say which network it is of. Weights are rounded to float16, and the scores that are written with them
are those of the rounded weights on the test split. Without files the tables alone are written anew.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import torch

from visionscope.core.objective import Objective
from visionscope.data.sources import open_source
from visionscope.models.checkpoint import own_metadata, save_checkpoint
from visionscope.models.load import load_model
from visionscope.models.shipped import SHIPPED, card, weights_file
from visionscope.models.weight_formats import read_content
from visionscope.training.evaluation import Scores, clean_batches, evaluate
from visionscope.training.recipe import RECIPES

_PAGE = Path(__file__).with_name("nano.md")
_KEPT = ("trained", "data", "asked", "training")  # of a training's metadata


def _ship(path: Path) -> None:
    metadata = own_metadata(read_content(path)[1])
    name = metadata["trained"].removeprefix("timm:")
    trained = load_model(f"{name}@{path}")
    assert trained.num_classes is not None
    more = {key: metadata[key] for key in _KEPT}
    form = {"num_classes": trained.num_classes, "arguments": trained.spec.arguments, "config": trained.input}
    halves = trained.model.half()
    save_checkpoint(weights_file(name), halves, **form, **more)
    shipped = load_model(f"{name}@{weights_file(name)}")
    batches = clean_batches(open_source("embedded:test"), shipped.input, 250)
    scores = evaluate(shipped.model, batches, Objective())
    save_checkpoint(weights_file(name), halves, **form, **more, scores=json.dumps(dataclasses.asdict(scores)))


def _results() -> list[str]:
    rows = [
        "| network | parameters | epochs | right, of 2,000 test images | NLL (nat) | float16 file | digest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SHIPPED:
        loaded = load_model(name)
        millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
        scores = Scores(**json.loads(card(name)["scores"]))
        low, high = (100 * end for end in scores.top_1_interval)
        epochs = json.loads(card(name)["asked"])["recipe"]["epochs"]
        right = f"{100 * scores.top_1:.1f} % ({low:.1f} to {high:.1f} %)"
        size = weights_file(name).stat().st_size / 1e6
        cells = (f"`{name}`", f"{millions:.2f} M", f"{epochs:g}", right, f"{scores.nll:.3f}", f"{size:.2f} MB")
        rows.append(f"| {' | '.join(cells)} | `{loaded.digest[:16]}` |")
    return rows


def _commands() -> list[str]:
    """As `visionscope train` takes them: every field in which a recipe differs from the one it is named after."""
    lines = ["```console"]
    for name in SHIPPED:
        asked = json.loads(card(name)["asked"])
        plain = dataclasses.asdict(RECIPES[asked["recipe name"]])
        flags = [
            f"--{field.replace('_', '-')} {value:g}"
            for field, value in asked["recipe"].items()
            if value != (list(plain[field]) if isinstance(plain[field], tuple) else plain[field])
        ]
        flags += [f"--validation {asked['validation']:g}"] * bool(asked["validation"])
        lines.append(f"$ visionscope train {name} --data {asked['data']} {' '.join(flags)} --out nano-run")
    return [*lines, "```"]


def _put(text: str, mark: str, lines: list[str]) -> str:
    between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.DOTALL)
    assert between.search(text), mark
    return between.sub(lambda found: "\n".join([found[1], *lines, "", found[2]]), text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        _ship(Path(argument))
    page = _put(_PAGE.read_text(encoding="utf-8"), "results", _results())
    _PAGE.write_text(_put(page, "commands", _commands()), encoding="utf-8")
