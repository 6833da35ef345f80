"""Attention for a network: harmonize."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from visionscope.building.placement import Placement
from visionscope.core.display import show_table
from visionscope.core.files import user_path
from visionscope.core.rules import SEEDS, values_of
from visionscope.core.terminal import say
from visionscope.core.values import Rule, Value
from visionscope.errors import ConfigError
from visionscope.flags import Parser, add_study_flag
from visionscope.models.find import find_model
from visionscope.running.study import checked_size

if TYPE_CHECKING:
    from argparse import Namespace

    from torch import nn

    from visionscope.building.harmonize import HarmonizePlan
    from visionscope.building.measure import Costs, Throughput
    from visionscope.models.load import LoadedModel

_SEED = Value(int, Rule(least=0, most=SEEDS - 1), 0)
_BATCH = Value(int, Rule(least=2, most=65536), 8)  # batch normalisation in training needs 2
_OUT = Value(str, Rule(empty=False))
_MIXER = Value(str, Rule(empty=False, longest=500))


def harmonize_flags(parser: Parser) -> None:
    """Adds the flags of harmonize."""
    parser.add_model()
    placed = values_of(Placement)
    parser.add_value("--msa", placed["msa"], "attention blocks of each stage, such as 0,1,1,1", required=True)
    parser.add_value("--extend", placed["extend"], "blocks added to each stage, such as 0,0,0,1")
    parser.add_value("--mixer", _MIXER, "what stands in attention's place; visionscope models 'mixer:*' lists them")
    parser.add_value(
        "--window",
        placed["window_size"],
        "edge of the windows in positions; by default that of the last stage's maps",
    )
    parser.add_value("--heads", placed["num_heads"], "attention heads of each stage; by default 3,6,12,24 and so on")
    parser.add_value("--head-dim", placed["head_dim"], "channels per head; by default as the last stage has them")
    add_study_flag(parser, "random_weights", "seed of random weights, which replace the pretrained ones")
    parser.add_value("--seed", _SEED, "seed of the new blocks' weights")
    add_study_flag(parser, "size", "height and width of the input in pixels; by default the model's own")
    parser.add_value("--batch", _BATCH, "images per pass in the measurement")
    add_study_flag(parser, "device", "device of the measurement: auto, cpu, cuda, ...")
    parser.add_value("--out", _OUT, "file to write the weights to, .safetensors; MODEL@FILE loads it")


def harmonize(parsed: Namespace) -> int:
    """Replaces blocks by attention, prints what becomes of the network and what it costs, writes it if asked to."""
    out, size = _checked_out(parsed.out), checked_size(parsed.size)
    placement = Placement(
        msa=parsed.msa,
        extend=parsed.extend,
        num_heads=parsed.heads,
        window_size=parsed.window,
        head_dim=parsed.head_dim,
    )
    find_model(parsed.model).check_single()

    from visionscope.building.harmonize import carry_out, plan_harmonize
    from visionscope.building.measure import costs, throughput
    from visionscope.running.devices import device_of

    device = device_of(parsed.device or "auto")
    loaded = _loaded(parsed, size, written=out is not None)
    size, channels = loaded.input.size, len(loaded.input.mean)
    plan = plan_harmonize(loaded.model, placement, mixer=parsed.mixer or "", input_size=size)
    changed = carry_out(loaded.model, plan, seed=parsed.seed or 0)
    networks = {"before": loaded.model, "after": changed}
    show_table(loaded.label, _PLAN_COLUMNS, _plan_rows(plan))
    counted = {name: costs(network, size, channels) for name, network in networks.items()}
    measured = throughput(networks, size, channels, batch=parsed.batch or _BATCH.default, device=device)
    show_table("", ("", "before", "after", "after / before"), _cost_rows(counted, measured))
    say(_conditions(measured["before"], size))
    if out is None:
        say("Nothing is written without --out; the plan is the same with any weights.")
        return 0
    _write(out, changed, loaded)
    fresh = ", ".join(change.path for change in plan.changes) or "no block"
    say(f"{out}: {loaded.weights}; new weights in {fresh}. Load it as {_spec_of(loaded)}@{out}")
    return 0


def _loaded(parsed: Namespace, size: tuple[int, int] | None, *, written: bool) -> LoadedModel:
    from visionscope.models.load import load_model

    seed = parsed.random_weights
    # The numbers of a plan are the same with any weights; those that are written must be asked for.
    return load_model(
        parsed.model,
        random_weights=seed if written else seed or 0,
        size=size,
    )


def _write(out: Path, changed: nn.Module, loaded: LoadedModel) -> None:
    from visionscope.models.checkpoint import save_checkpoint
    from visionscope.training.networks import check_head

    classes = loaded.num_classes or check_head(loaded, loaded.input, 0).columns
    try:
        save_checkpoint(
            out,
            changed,
            num_classes=classes,
            arguments=loaded.spec.arguments,
            config=loaded.input,
            harmonized=_spec_of(loaded),
        )
    except OSError as error:
        raise ConfigError(f"out: {out} can't be written: {error.strerror or error}") from error


def _spec_of(loaded: LoadedModel) -> str:
    name = loaded.spec.name
    return name if loaded.spec.source in ("timm", "file") else f"{loaded.spec.source}:{name}"


def _checked_out(text: str | None) -> Path | None:
    if text is None:
        return None
    out = user_path("out", text)
    if out.suffix != ".safetensors":
        raise ConfigError(f"out: must end with .safetensors; got {text!r}. Did you mean '{out.stem}.safetensors'?")
    if not out.parent.is_dir():
        raise ConfigError(f"out: there is no folder {out.parent}; got {text!r}")
    if out.exists() or out.is_symlink():
        raise ConfigError(f"out: {out} is there already; take another name, or remove it")
    return out


_PLAN_COLUMNS = ("stage", "grid", "channels", "before", "after", "heads", "channels per head", "window")


def _plan_rows(plan: HarmonizePlan) -> Iterator[tuple[str, ...]]:
    for number, stage in enumerate(plan.stages, start=1):
        attention = (str(stage.num_heads), str(stage.head_dim), f"{stage.window_size}x{stage.window_size}")
        yield (
            str(number),
            "x".join(map(str, stage.grid)),
            str(stage.channels),
            _order(stage.before),
            _order(stage.after),
            *(attention if "msa" in stage.after else ("-",) * 3),
        )


def _order(kinds: tuple[str, ...]) -> str:
    runs = ((kind, len(list(run))) for kind, run in groupby(kinds))
    return ", ".join(kind if count == 1 else f"{kind} x {count}" for kind, count in runs)


def _conditions(measured: Throughput, size: tuple[int, int]) -> str:
    where = measured.device
    if where == "cpu":
        where = f"cpu, {measured.threads} thread{'s' * (measured.threads > 1)}"
    return (
        f"Images of {size[0]}x{size[1]} px; images/s in float32 on {where}, batch {measured.batch}, "
        f"the fastest of {measured.repeats}."
    )


def _cost_rows(counted: dict[str, Costs], measured: dict[str, Throughput]) -> Iterator[tuple[str, ...]]:
    rows = (
        ("parameters, million", [item.parameters / 1e6 for item in counted.values()]),
        ("GMACs of an image", [item.gmacs for item in counted.values()]),
        ("memory traffic of an image, MB", [item.traffic / 1e6 for item in counted.values()]),
        ("peak memory of an image, MB", [item.peak / 1e6 for item in counted.values()]),
        ("forward, images/s", [item.forward for item in measured.values()]),
        ("training step, images/s", [item.training for item in measured.values()]),
    )
    for name, (before, after) in rows:
        yield name, _figure(before), _figure(after), f"{after / before:.2f}" if before else "-"


def _figure(value: float) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"
