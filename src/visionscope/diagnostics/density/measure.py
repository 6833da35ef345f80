"""Random vectors through a sample's Hessian: the masses of its spectrum, the terms of its trace."""

from collections.abc import Iterator, Sequence

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Subject, objective_of
from visionscope.curvature.density import quadratures, trace_parts
from visionscope.curvature.parameters import MeasuredParameters, check_differentiable, measured_parameters
from visionscope.curvature.sample_hessian import SampleHessian, product_bytes, seed_of, vector_bytes
from visionscope.curvature.second_order import check_passes
from visionscope.diagnostics.density.question import TRACE, Density, DensityRow

PROBES_PER_PART = 2
_PASSES = 9.0  # forward passes of an image that its share of a product costs


def identity_in(asked: Density, subject: Subject) -> list[str]:
    """Which parameters are frozen, and whether they are left out."""
    return _measured(asked, subject).identity()


def parts(asked: Density, subject: Subject) -> Sequence[str]:
    """The trace, then two random vectors of the density each."""
    check_differentiable(subject, asked.name, _measured(asked, subject))
    firsts = range(0, asked.probes, PROBES_PER_PART)
    return [TRACE, *(f"probes-{first:02d}-{min(first + PROBES_PER_PART, asked.probes):02d}" for first in firsts)]


def cost(asked: Density, subject: Subject) -> Cost:
    """About nine forward passes per image and product; one retained graph, and the vectors of one part."""
    sample = subject.samples[asked.sample]
    names = _measured(asked, subject).names
    needed = product_bytes(subject, asked.sample, objective_of(subject, asked.name), asked.batch_norm, names)
    vector = vector_bytes(subject.model, names)
    products = max(PROBES_PER_PART * asked.steps, 3 * asked.sketch)
    return Cost(
        passes=_PASSES * products * len(sample),
        memory=needed + max(2 * PROBES_PER_PART * asked.steps, 6 * asked.sketch) * vector,
        advice=f"take fewer steps (--density.steps, now {asked.steps}), smaller images, or a GPU",
    )


def measure(asked: Density, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[DensityRow]]]:
    """The masses or terms of each part, after two passes over the first mini-batch have agreed."""
    objective, sample = objective_of(subject, asked.name), subject.samples[asked.sample]
    measured = _measured(asked, subject)
    check_differentiable(subject, asked.name, measured)
    check_passes(subject.model, sample, asked.batch_norm, second_derivatives=True, parameters=measured.names)
    batches = list(sample.batches(0, len(sample), MINI_BATCH))
    hessian = SampleHessian(subject, objective, batches, asked.batch_norm, measured.names)
    for part in parts:
        terms = _trace(asked, hessian) if part == TRACE else _masses(asked, hessian, part)
        yield (
            part,
            [
                DensityRow(
                    *term,
                    images=len(sample),
                    parameters=hessian.like.numel(),
                    measured=measured.which,
                    frozen=measured.frozen_of(measured.frozen),
                    unused=hessian.unused,
                    augmentation=subject.augmentation,
                    batch_norm=asked.batch_norm,
                    weight_decay=objective.weight_decay,
                )
                for term in terms
            ],
        )


def _measured(asked: Density, subject: Subject) -> MeasuredParameters:
    return measured_parameters(subject, asked.name, asked.parameters)


def _trace(asked: Density, hessian: SampleHessian) -> list[tuple[str, int, float, float]]:
    found = trace_parts(hessian.products, hessian.like, seed_of(asked.seed, TRACE), asked.sketch)
    rest = [("residual", probe, value, 1.0) for probe, value in enumerate(found.residuals.tolist())]
    return [("sketch", -1, found.sketch, 1.0), *rest]


def _masses(asked: Density, hessian: SampleHessian, part: str) -> list[tuple[str, int, float, float]]:
    first, stop = map(int, part.split("-")[1:])
    seeds = [seed_of(asked.seed, probe) for probe in range(first, stop)]
    runs = quadratures(hessian.products, hessian.like, seeds, asked.steps)
    return [
        ("ritz", probe, value, weight)
        for probe, run in zip(range(first, stop), runs, strict=True)
        for value, weight in zip(run.values.tolist(), run.weights.tolist(), strict=True)
    ]
