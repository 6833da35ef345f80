"""What every observing diagnostic owes: run over the registry, on a small transformer, ResNet and AlterNet."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
import timm
import torch
from torch import Tensor, nn

import visionscope.models.alternet
import visionscope.models.nano  # noqa: F401  # both register the networks
from reference.found_as_it_was import snapshot
from visionscope.core.diagnostic import ObservingDiagnostic
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.sample import Batch
from visionscope.core.subject import Point, Subject
from visionscope.core.table import from_table, schema_of, to_table
from visionscope.report.plotly import to_matplotlib, to_plotly
from visionscope.running.execute import observe
from visionscope.tracing import trace, watch

IMAGES = 40
NETWORKS: dict[str, dict[str, Any]] = {
    "vit_nano": {"classifier": "cls"},  # a token that is no place
    "resnet_nano": {},
    "alternet_nano": {
        "blocks": (2, 2),
        "msa": (0, 1),
        "channels": (8, 16),
        "num_heads": 2,
        "head_dim": 8,
        "stem_chs": 8,
    },
}

OBSERVING = [name for name in diagnostic_names() if isinstance(diagnostic_class(name), ObservingDiagnostic)]

pytestmark = [pytest.mark.parametrize("name", OBSERVING), pytest.mark.parametrize("network", NETWORKS)]


@dataclasses.dataclass(frozen=True)
class Images:
    """Fixed images in a given order; the positions are those of the first order."""

    images: Tensor
    order: Sequence[int]
    digest: str = "fixed"

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, stop, batch_size):
            chosen = torch.tensor(self.order[first : min(first + batch_size, stop)])
            yield Batch(self.images[chosen], None, chosen)


@functools.cache
def subject(network: str, double: bool = False, backwards: bool = False) -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(network, **NETWORKS[network]).eval()
        images = torch.randn(IMAGES, 3, 32, 32, dtype=torch.float64)
    kind = torch.float64 if double else torch.float32
    model, images = model.to(kind), images.to(kind)
    found = trace(model, images)
    order = list(range(IMAGES))[:: -1 if backwards else 1]
    return Subject(
        label=network,
        model=model,
        points=found.points,
        watch=functools.partial(watch, model, found),
        samples={"eval": Images(images, order)},
        precision="fp64" if double else "fp32",
    )


def tables(
    network: str, batch: int, double: bool, backwards: bool, names: Sequence[str] = tuple(OBSERVING)
) -> dict[str, pa.Table]:
    given = subject(network, double, backwards)
    observers = {name: diagnostic_class(name)().observer(given.points) for name in names}
    assert observe(given, observers, (0, IMAGES), batch=batch) == {}
    return {name: to_table(diagnostic_class(name).row, observer.rows()) for name, observer in observers.items()}


@functools.cache
def observed(network: str, batch: int, double: bool, backwards: bool) -> dict[str, pa.Table]:
    """All diagnostics from one pass, as a run makes them."""
    return tables(network, batch, double, backwards)


def table(name: str, network: str, batch: int = 32, double: bool = False, backwards: bool = False) -> pa.Table:
    return observed(network, batch, double, backwards)[name]


def largest_difference(one: pa.Table, other: pa.Table) -> float:
    assert one.num_rows == other.num_rows > 0
    largest = 0.0
    for column in one.schema.names:
        for a, b in zip(one.column(column).to_pylist(), other.column(column).to_pylist(), strict=True):
            packed = isinstance(a, list) and isinstance(b, list)
            for own, others in zip(a, b, strict=True) if packed else [(a, b)]:
                if isinstance(own, float) and isinstance(others, float):
                    largest = max(largest, abs(own - others) / max(1.0, abs(own)))
                else:
                    assert own == others, column
    return largest


def test_rows_match_the_schema_and_hold_no_nan(name: str, network: str) -> None:
    rows = table(name, network)
    assert rows.schema.equals(schema_of(diagnostic_class(name).row), check_metadata=True)
    assert all(field.metadata[b"meaning"] for field in rows.schema)
    cells = [value for column in rows.columns for value in column.to_pylist()]
    values = [own for cell in cells for own in (cell if isinstance(cell, list) else [cell]) if isinstance(own, float)]
    assert values
    assert all(math.isfinite(value) for value in values)


def test_the_same_run_gives_the_same_bits_alone_or_with_others(name: str, network: str) -> None:
    assert tables(network, 32, False, False, [name])[name].equals(table(name, network))


@pytest.mark.parametrize("batch", [13, IMAGES])  # the last of three thirteens is followed by a batch of one
def test_the_loading_batch_does_not_matter(name: str, network: str, batch: int) -> None:
    assert largest_difference(table(name, network, batch), table(name, network)) <= 1e-4
    exact = table(name, network, double=True)
    assert largest_difference(table(name, network, batch, double=True), exact) <= 1e-10


def test_the_order_of_the_images_does_not_matter(name: str, network: str) -> None:
    assert (
        largest_difference(table(name, network, double=True, backwards=True), table(name, network, double=True))
        <= 1e-10
    )


def test_stored_sums_give_the_same_bits(name: str, network: str) -> None:
    given, diagnostic = subject(network), diagnostic_class(name)()
    observer, again = diagnostic.observer(given.points), diagnostic.observer(given.points)
    observe(given, {name: observer}, (0, IMAGES), batch=32)
    again.load(from_table(diagnostic.state_row, to_table(diagnostic.state_row, observer.state())))
    assert to_table(diagnostic.row, again.rows()).equals(table(name, network))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_found_as_it_was(name: str, network: str, fails: bool) -> None:
    given = subject(network)
    before = snapshot(given.model)
    observer = diagnostic_class(name)().observer(given.points)
    broken = _Breaking(observer.update)
    errors = observe(given, {name: broken if fails else observer}, (0, IMAGES), batch=32)
    assert [str(error) for error in errors.values()] == (["in the middle"] if fails else [])
    assert snapshot(given.model) == before


class _Breaking:
    """An observer that raises at the third point."""

    def __init__(self, update: Callable[[Point, Tensor, Tensor], None]) -> None:
        self._update, self._left = update, 2

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        if not self._left:
            raise RuntimeError("in the middle")
        self._left -= 1
        self._update(point, maps, positions)


def test_the_figure_draws_headless(name: str, network: str) -> None:
    rows = table(name, network)
    labelled: pa.Table = rows.add_column(0, "model", pa.array([network] * rows.num_rows))
    figure = diagnostic_class(name)().figure(labelled)
    assert figure.panels
    assert figure.caption
    drawn: Any = to_matplotlib(figure)
    assert drawn.axes
    assert to_plotly(figure).data
