"""Density and trace of a sample's Hessian (eight mini-batches): cost per product, and the values, beside curvlinops.

One gradient G is a forward and a backward pass of one mini-batch of 16; CPU time, one thread.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.hessian import curvlinops_operator, gradient_seconds, quiet, subjects
from benchmarks.measure import Measurement
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.curvature.density import quadratures, trace_parts
from visionscope.curvature.sample_hessian import SampleHessian
from visionscope.curvature.second_order import twice_differentiable
from visionscope.diagnostics.density.measure import PROBES_PER_PART

MINI_BATCHES = 8
ROUNDS = 5
PROBES, STEPS, SKETCH = 4, 20, 6


def run() -> list[Measurement]:
    torch.set_num_threads(1)
    rows: list[Measurement] = []
    for name, model, batches in subjects():
        with quiet():
            rows.extend(_rows(name, model.eval(), batches[:MINI_BATCHES]))
        if name.startswith("ResNet"):
            with quiet():
                rows.extend(_values(name, model, batches[:MINI_BATCHES]))
    return rows


def _rows(name: str, model: nn.Module, batches: list[Batch]) -> Iterator[Measurement]:
    unit = gradient_seconds(model, batches[0]) * len(batches) * PROBES_PER_PART
    ours = _sample_hessian(model, batches)
    with twice_differentiable(model):
        theirs = curvlinops_operator(model, *batches)
        vectors = torch.randn(PROBES_PER_PART, ours.like.numel(), generator=torch.Generator().manual_seed(0))
        own, peer = (
            _costs(function, unit) for function in (lambda: ours.products(vectors), lambda: theirs @ vectors.T)
        )
    yield Measurement(
        name=f"{name}: one product, {PROBES_PER_PART} at once",
        unit="G per mini-batch",
        value=statistics.median(own),
        spread=(min(own), max(own)),
        peers={"curvlinops": statistics.median(peer)},
        note="the graph of each mini-batch is made anew, as a whole sample's would not fit in memory",
    )


def _values(name: str, model: nn.Module, batches: list[Batch]) -> Iterator[Measurement]:
    """The trace by Hutch++ with as many products, and the mean square by quadrature against curvlinops' plain norms."""
    from curvlinops import hutchpp_trace

    ours = _sample_hessian(model, batches)
    with twice_differentiable(model):
        operator = curvlinops_operator(model, *batches)
        torch.manual_seed(0)
        peer = float(hutchpp_trace(operator, 3 * SKETCH))
        found = trace_parts(ours.products, ours.like, 0, SKETCH)
        runs = quadratures(ours.products, ours.like, list(range(PROBES)), STEPS)
    error = found.residuals.std(ddof=1) / math.sqrt(SKETCH)
    yield Measurement(
        name=f"{name}: trace, Hutch++ with {3 * SKETCH} products",
        unit="nat per squared weight",
        value=found.sketch + float(found.residuals.mean()),
        spread=None,
        peers={"curvlinops hutchpp_trace": peer},
        note=f"standard error {error:.3g}",
    )
    size = ours.like.numel()
    traces = np.array([size * float(run.values @ run.weights) for run in runs])
    yield Measurement(
        name=f"{name}: trace, quadrature with {PROBES * STEPS} products",
        unit="nat per squared weight",
        value=float(traces.mean()),
        spread=(float(traces.min()), float(traces.max())),
        note=f"standard error {traces.std(ddof=1) / math.sqrt(PROBES):.3g}",
    )


def _sample_hessian(model: nn.Module, batches: list[Batch]) -> SampleHessian:
    subject = Subject(label="", model=model, points=(), watch=_unwatched, samples={})
    return SampleHessian(subject, Objective(weight_decay=0.0), batches, "eval")


def _unwatched(callback: Callable[[Any, Tensor], None]) -> Any:
    raise NotImplementedError


def _costs(function: Callable[[], object], unit: float) -> list[float]:
    costs = []
    for repetition in range(ROUNDS + 1):
        began = time.process_time()
        function()
        if repetition:
            costs.append((time.process_time() - began) / unit)
    return costs
