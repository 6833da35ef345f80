"""What every diagnostic that measures on its own owes: run over the registry, on three small networks."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reference.found_as_it_was import snapshot
from running.networks import alternating, normalized, tokens
from visionscope.core.diagnostic import Cost, MeasuringDiagnostic
from visionscope.core.objective import Objective
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.sample import MINI_BATCH, Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import from_table, schema_of, to_table
from visionscope.diagnostics.outcomes import passes
from visionscope.errors import DataError, StoreError
from visionscope.report.plotly import to_matplotlib, to_plotly
from visionscope.running.measuring import measure
from visionscope.running.parts import part_rows
from visionscope.running.store import LEADING, with_leading
from visionscope.running.subjects import scopes_of
from visionscope.tracing import Trace, trace, watch

# Small enough to take no time, of several parts each.
SETTINGS: dict[str, dict[str, Any]] = {
    "hessian": {"mini_batches": 9, "k": 1, "tolerance": 1e-2},
    "density": {"mini_batches": 3, "probes": 3, "steps": 6, "sketch": 2},
    "landscape": {"sample_size": 40, "points": 3, "draws": 1},
    "attention": {"image": 3},
    "lesion": {"mode": "branch"},
    "frequency_noise": {"frequencies": (0.3, 0.7), "width": 0.4},
    "adversarial": {"eps": (4.0,), "steps": 2, "sample_size": 300},
    "fourier_heatmap": {"half_size": 1, "step": 1, "sample_size": 300},
    "calibration": {"fit_size": 20},
    "fit": {"sample_size": 280},
    "corruption": {"types": ("shot_noise", "contrast"), "severities": (5,)},
    "sharpness": {"batches": 2, "batch_size": 32, "draws": 2, "steps": 2},
    "receptive_field": {"sample_size": 40},
    "compression": {"qualities": (30,), "sample_size": 300},
}
NETWORKS = {"tokens": tokens, "normalized": normalized, "alternating": alternating}
# The other way with BatchNorm, which changes running statistics for a while.
# Networks that a diagnostic has something to ask of; all where it is not named.
_PREDICTIONS = ("adversarial", "calibration", "corruption", "fit", "fourier_heatmap", "frequency_noise", "shape_bias")
APPLIES: dict[str, tuple[str, ...]] = {
    # What takes predictions alone is asked of one network: convolutions, BatchNorm and attention.
    **dict.fromkeys(_PREDICTIONS, ("alternating",)),
    "attention": ("tokens", "alternating"),
    "compression": ("alternating",),
    # Their own tests hold them to dense matrices, for networks of every kind.
    **dict.fromkeys(("hessian", "density"), ("alternating",)),
    # Its own tests skip, saying so, where the extra is missing.
    **({} if find_spec("torch_uncertainty") else {"corruption": ()}),
}
NORMS = {"hessian": "train", "density": "train", "landscape": "reestimated"}
# Where the order of images changes nothing: within mini-batches of 16, or at all.
# What is drawn per position has no order to lose.
ORDERS = {"hessian": "within", "density": "within", "sharpness": "within", "landscape": "any"}
# They load images in groups of their own, whatever others do.
GROUPED = {*ORDERS, "adversarial", "compression", "receptive_field"}
INPUT = InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
FEW = 150  # for what is cut into mini-batches of 16
MANY = 300  # for what is cut into spans of 256
ODD = 51  # the last image of a span of 256 is a batch of its own

MEASURING = [name for name in diagnostic_names() if isinstance(diagnostic_class(name), MeasuringDiagnostic)]

pytestmark = [
    pytest.mark.parametrize(
        ("name", "network"), [(name, network) for name in MEASURING for network in APPLIES.get(name, tuple(NETWORKS))]
    ),
    pytest.mark.usefixtures("warm_server"),
]


@dataclasses.dataclass(frozen=True)
class Images:
    """Fixed images with labels in a given order; optionally one that can't be read."""

    images: Tensor
    labels: Tensor
    order: Sequence[int]
    torn: int = -1
    digest: str = "fixed"
    classes: tuple[str, ...] = tuple("abcdefghij")
    loaded: set[int] = dataclasses.field(default_factory=set)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def source(self) -> "Images":
        return self

    @property
    def indices(self) -> Sequence[int]:
        return self.order

    def texture(self, index: int) -> int:
        return (int(self.labels[index]) + 3) % 10

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        self.loaded.add(batch_size)
        for first in range(start, min(stop, len(self)), batch_size):
            positions = torch.arange(first, min(first + batch_size, stop, len(self)))
            if self.torn in positions.tolist():
                raise DataError("cat.jpg can't be decoded")
            chosen = torch.tensor([self.order[position] for position in positions.tolist()])
            yield Batch(self.images[chosen], self.labels[chosen], positions)


def images_for(name: str) -> int:
    return FEW if name in ORDERS else MANY


def asked(name: str, **changes: Any) -> Any:
    return diagnostic_class(name)(**{**SETTINGS.get(name, {}), **changes})


def subject(
    name: str, network: str, *, double: bool = False, order: str = "", torn: int = -1, **fields: Any
) -> Subject:
    model = NETWORKS[network]().to(torch.float64 if double else torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    count = images_for(name)
    images = torch.randn(count, 3, 16, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (count,), generator=generator)
    wanted = asked(name, **fields)
    places, rest = list(range(wanted.images(count))), list(range(wanted.images(count), count))
    if order == "within":
        groups = [places[first : first + MINI_BATCH] for first in range(0, len(places), MINI_BATCH)]
        places = [place for group in groups for place in reversed(group)]
    elif order == "any":
        places.reverse()
    found = traced(network, double)
    return Subject(
        label=network,
        model=model,
        points=found.points,
        watch=functools.partial(watch, model, found),
        samples={
            wanted.sample: Images(images if double else images.float(), labels, places, torn),
            **{
                beside: Images(images if double else images.float(), labels, rest[: wanted.images_beside(count)])
                for beside in getattr(wanted, "beside", ())
            },
        },
        precision="fp64" if double else "fp32",
        objective=Objective(label_smoothing=0.1),
        scopes=functools.partial(scopes_of, model, found, (3, 16, 16)),
        augmentation="none",
        input=INPUT,
        trace=found,
    )


@functools.cache
def traced(network: str, double: bool) -> Trace:
    """The points of a network, which any network of its kind has."""
    kind = torch.float64 if double else torch.float32
    return trace(NETWORKS[network]().to(kind).eval(), torch.randn(2, 3, 16, 16, dtype=kind))


def measured(name: str, given: Subject, parts: Sequence[str] | None = None, **fields: Any) -> dict[str, pa.Table]:
    diagnostic = asked(name, **fields)
    wanted = diagnostic.parts(given) if parts is None else parts
    return {part: to_table(diagnostic.row, rows) for part, rows in measure(diagnostic, given, wanted)}


@functools.cache
def usual(name: str, network: str) -> dict[str, pa.Table]:
    return measured(name, subject(name, network))


@functools.cache
def exact(name: str, network: str, **fields: Any) -> dict[str, pa.Table]:
    """In double precision."""
    return measured(name, subject(name, network, double=True, **fields), **fields)


def whole(parts: dict[str, pa.Table], label: str = "one") -> pa.Table:
    """A table as the store hands it to summary and figure."""
    leading = {**dict.fromkeys(LEADING, "x"), "model": label}
    return with_leading(pa.concat_tables(parts.values()), leading)


def test_settings_are_small_and_of_several_parts(name: str, network: str) -> None:
    given = subject(name, network)
    parts = asked(name).parts(given)
    assert len(parts) == len(set(parts)) > 1
    assert all(part.replace("-", "").replace("_", "").isalnum() for part in parts)
    assert 0 < asked(name).images(10**6) <= 10**6
    assert asked(name).images(images_for(name)) <= images_for(name)


def test_rows_match_the_schema_and_say_what_they_mean(name: str, network: str) -> None:
    diagnostic = asked(name)
    assert list(usual(name, network)) == list(diagnostic.parts(subject(name, network)))
    for table in usual(name, network).values():
        assert table.num_rows > 0
        assert table.schema.equals(schema_of(diagnostic.row), check_metadata=True)
        assert from_table(diagnostic.row, table)
    assert all(field.metadata[b"meaning"] for field in schema_of(diagnostic.row))
    assert not set(schema_of(diagnostic.row).names) & set(LEADING)
    values = [value for column in whole(usual(name, network)).columns for value in column.to_pylist()]
    numbers = [value for value in values if isinstance(value, float)]
    assert numbers
    assert all(math.isfinite(value) for value in numbers)


def test_a_stored_part_is_told_from_every_other(name: str, network: str) -> None:
    diagnostic, parts = asked(name), usual(name, network)
    record: dict[str, Any] = {"job": "0" * 64, "points": []}
    for part, table in parts.items():
        assert part_rows(table, record, part, diagnostic) == from_table(diagnostic.row, table)
        for other in parts.keys() - {part}:
            with pytest.raises(StoreError, match=r"its rows are (not those of this part|of the part)"):
                part_rows(table, record, other, diagnostic)


def test_the_same_run_gives_the_same_bits(name: str, network: str) -> None:
    assert measured(name, subject(name, network)) == usual(name, network)


def test_parts_one_by_one_and_in_any_order_give_the_same_bits(name: str, network: str) -> None:
    """So what was stored before a stop and what is computed after it make the table of an uninterrupted run."""
    given = subject(name, network)
    parts = list(usual(name, network))
    alone = {part: measured(name, given, [part])[part] for part in reversed(parts)}
    assert alone == usual(name, network)
    assert measured(name, given, parts[1:]) == {part: usual(name, network)[part] for part in parts[1:]}


def test_the_model_is_found_as_it_was(name: str, network: str) -> None:
    given = subject(name, network)
    given.model.train()
    next(given.model.children()).eval()
    before = snapshot(given.model)
    asked(name).cost(given)
    assert snapshot(given.model) == before
    measured(name, given)
    assert snapshot(given.model) == before
    if name in NORMS:
        measured(name, given, batch_norm=NORMS[name])
    assert snapshot(given.model) == before


@pytest.mark.parametrize("torn", [0, 16, 35])
def test_the_model_is_found_as_it_was_after_an_error(name: str, network: str, torn: int) -> None:
    given = subject(name, network, torn=torn)
    before = snapshot(given.model)
    for fields in ({}, {"batch_norm": NORMS[name]} if name in NORMS else {}):
        with pytest.raises(DataError, match=r"cat.jpg can't be decoded"):
            measured(name, given, **fields)
    assert snapshot(given.model) == before


def test_the_model_is_found_as_it_was_when_nobody_takes_the_rest(name: str, network: str) -> None:
    given = subject(name, network)
    before = snapshot(given.model)
    parts = measure(asked(name), given, asked(name).parts(given))
    next(parts)
    parts.close()
    assert snapshot(given.model) == before


def test_the_cost_is_told(name: str, network: str) -> None:
    cost: Cost = asked(name).cost(subject(name, network))
    assert cost.passes > 0
    assert 0 < cost.memory < 2**32
    assert f"--{name}." in cost.advice


def test_the_loading_batch_does_not_matter(name: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BATCH", ODD)
    given = subject(name, network, double=True)
    assert largest_difference(whole(exact(name, network)), whole(measured(name, given))) <= 1e-10
    loaded = set().union(*(sample.loaded for sample in given.samples.values())) - {1}
    if name in GROUPED or loaded == {MINI_BATCH}:
        assert loaded <= {MINI_BATCH, 2 * MINI_BATCH}
    else:
        assert loaded == {ODD}  # images were really loaded so


def largest_difference(one: pa.Table, other: pa.Table) -> float:
    """Of the numbers, relative where they are above 1; everything else must be equal."""
    largest = 0.0
    assert one.schema == other.schema
    for column in set(one.schema.names) - {"residual", "products"}:
        for a, b in zip(one[column].to_pylist(), other[column].to_pylist(), strict=True):
            if isinstance(a, float):
                largest = max(largest, abs(a - b) / max(1.0, abs(a)))
            elif isinstance(a, list) and a and isinstance(a[0], float):
                largest = max(largest, *(abs(x - y) / max(1.0, abs(x)) for x, y in zip(a, b, strict=True)))
            else:
                assert a == b, column
    return largest


def test_the_order_of_the_images_does_not_matter(name: str, network: str) -> None:
    if name not in ORDERS:
        return
    fields = {"tolerance": 1e-8} if name == "hessian" else {}
    one = exact(name, network, **fields)
    other = measured(name, subject(name, network, double=True, order=ORDERS[name], **fields), **fields)
    assert list(one) == list(other)
    assert largest_difference(whole(one), whole(other)) <= 1e-10


@pytest.mark.parametrize("labels", [("one",), ("one", "other")])
def test_figure_and_summary_draw_headless(name: str, network: str, labels: tuple[str, ...]) -> None:
    table = pa.concat_tables([whole(usual(name, network), label) for label in labels])
    summary = asked(name).summary(table)
    assert summary.schema.names[: len(LEADING)] == list(LEADING)
    assert set(summary["model"].to_pylist()) == set(labels)
    figure = asked(name).figure(table)
    assert figure.panels
    assert figure.caption
    assert to_plotly(figure).data
    if len(labels) == 2 or network == "alternating":  # single models of the others have no kinds of blocks of their own
        drawn: Any = to_matplotlib(figure)
        assert drawn.axes
