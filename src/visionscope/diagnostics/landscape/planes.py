"""The planes that a landscape is drawn over: random directions, eigenvectors of the Hessian, three checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from visionscope.core.copying import copy_of
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Subject, objective_of
from visionscope.curvature.directions import Direction, plane_through, random_direction
from visionscope.curvature.hvp import split
from visionscope.curvature.lanczos import largest
from visionscope.curvature.sample_hessian import SampleHessian, product_bytes, vector_bytes
from visionscope.curvature.weights import weights_of
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.errors import VisionscopeError
from visionscope.models.checkpoint import read_checkpoint
from visionscope.models.fitting import fit

_MINI_BATCHES = 8
_TOLERANCE = 1e-8  # of the eigenvalues; the vectors are known to about its square root
_MOST_PRODUCTS = 100
MARGIN = 0.25  # of the distance between the outermost checkpoints, on either side


@dataclasses.dataclass(frozen=True)
class Plane:
    """Two directions, the steps along them, and what lies where.

    Attributes:
        x: the first direction by parameter name.
        y: the second.
        steps_x: along the first, rising, 0 among them.
        steps_y: along the second.
        places: further places in the plane with their names.
    """

    x: Direction
    y: Direction
    steps_x: tuple[float, ...]
    steps_y: tuple[float, ...]
    places: tuple[tuple[float, float, str], ...] = ()


def plane_of(subject: Subject, asked: Landscape, names: Collection[str]) -> Plane:
    """The plane that a landscape asks for.

    Args:
        subject: its model lies at (0, 0).
        asked: the landscape.
        names: the parameters that may move; between checkpoints all do.

    Raises:
        ConfigError: see `checkpoint_plane`.
        VisionscopeError: see `top_eigenvectors`.
    """
    if asked.plane == "checkpoints":
        return checkpoint_plane(subject.model, asked.checkpoints, asked.points)
    steps = even_steps(asked.extent, asked.points)
    if asked.plane == "eigenvectors":
        x, y = top_eigenvectors(subject, asked.sample, asked.seed, names)
        return Plane(x, y, steps, steps)
    x, y = (random_line(subject.model, asked.normalization, asked.seed, 0, axis, names) for axis in ("x", "y"))
    return Plane(x, y, steps, steps)


def random_line(
    model: nn.Module, normalization: str, seed: int, draw: int, axis: str, names: Collection[str] | None = None
) -> Direction:
    """The direction of one draw along one axis.

    Args:
        model: whose weights it moves.
        normalization: see `curvature.directions`.
        seed: of all draws.
        draw: 0 for the grid.
        axis: `x` or `y`.
        names: the parameters that may move, of which the weights do; all by default.
    """
    weights = moving_weights(model, normalization, names)
    return random_direction(weights, normalization, f"{seed}/{draw}/{axis}")


def moving_weights(model: nn.Module, normalization: str, names: Collection[str] | None) -> dict[str, nn.Parameter]:
    """The weights that a random direction moves.

    Args:
        model: holds them.
        normalization: `official` has a rule of its own.
        names: the parameters that may move; all by default.
    """
    weights = weights_of(model, "official" if normalization == "official" else "reviewed")
    return {name: value for name, value in weights.items() if names is None or name in names}


def even_steps(extent: float, points: int) -> tuple[float, ...]:
    """An odd number of steps from -extent to extent, the middle one exactly 0.

    Args:
        extent: the largest.
        points: how many, odd.
    """
    half = points // 2
    return tuple(extent * (index - half) / half for index in range(points))


def covering_steps(places: Sequence[float], points: int) -> tuple[float, ...]:
    """Even steps that cover some places with a margin, 0 among them.

    Args:
        places: coordinates.
        points: how many steps, 3 or more.
    """
    low, high = min(0.0, *places), max(0.0, *places)
    margin = MARGIN * (high - low)
    # One step is kept back, so that the grid can be shifted until 0 is on it.
    step = (high - low + 2 * margin) / (points - 2)
    first = math.floor((low - margin) / step)
    return tuple(step * (first + index) for index in range(points))


def checkpoint_plane(model: nn.Module, files: Sequence[str], points: int) -> Plane:
    """The plane through a network and two files of its weights; see `curvature.directions.plane_through`.

    Args:
        model: lies at (0, 0).
        files: the first lies at (1, 0).
        points: of each axis.

    Raises:
        ConfigError: when a file can't be read, doesn't fit the network, or the three lie on a line.
    """
    origin, first, second = _parameters(model), *(_weights_in(model, Path(file)) for file in files)
    x, y, place = plane_through(origin, first, second)
    names = _names(files)
    places = ((0.0, 0.0, "model"), (1.0, 0.0, names[0]), (*place, names[1]))
    return Plane(
        x,
        y,
        covering_steps([place[0] for place in places], points),
        covering_steps([place[1] for place in places], points),
        places,
    )


def top_eigenvectors(subject: Subject, sample: str, seed: int, names: Collection[str]) -> list[Direction]:
    """The eigenvectors of the Hessian's two eigenvalues of largest magnitude, each sqrt(2 / |eigenvalue|) long.

    The Hessian is that of the mean NLL of the first 8 mini-batches of 16, by the parameters that may move. By that
    length a step of 1 changes the NLL by 1 nat if the Hessian alone decides; what the surface does else is not in the
    Hessian. (As long as a filter-normalized direction, a step would be thousands of nats.) An eigenvector's sign makes
    its largest component positive.

    Args:
        subject: with its objective.
        sample: which of its samples.
        seed: of the start vector.
        names: the parameters that may move.

    Raises:
        VisionscopeError: when the model can't be differentiated twice, or the eigenvectors don't converge.
    """
    named = {name: value for name, value in subject.model.named_parameters() if name in names}
    parameters = list(named.values())
    count = min(_MINI_BATCHES * MINI_BATCH, len(subject.samples[sample]))
    batches = list(subject.samples[sample].batches(0, count, MINI_BATCH))
    objective = dataclasses.replace(objective_of(subject, "landscape"), weight_decay=0.0)
    hessian = SampleHessian(subject, objective, batches, parameters=names)
    found = largest(
        lambda vector: hessian.products(vector[None])[0],
        hessian.like,
        2,
        tolerance=_TOLERANCE,
        max_steps=_MOST_PRODUCTS,
        seed=seed,
        vectors=True,
    )
    if not found.converged.all() or found.vectors is None or len(found.vectors) < 2:
        raise VisionscopeError(
            f"landscape: the Hessian's two top eigenvectors did not converge in {found.products} products; "
            "take --landscape.plane random"
        )
    directions = []
    for value, vector in zip(found.values.tolist(), found.vectors, strict=True):
        if not value:
            raise VisionscopeError(
                "landscape: the Hessian has an eigenvalue of 0 among its two largest; take another plane"
            )
        wanted = math.sqrt(2 / abs(value))
        scaled = vector * (wanted / vector.double().norm().item() * vector[vector.abs().argmax()].sign().item())
        directions.append(dict(zip(named, split(scaled, parameters), strict=True)))
    return directions


def eigenvectors_memory(subject: Subject, sample: str, names: Collection[str]) -> int:
    """Bytes that `top_eigenvectors` needs at most: a vector per product and the graph of one mini-batch.

    Args:
        subject: with its objective.
        sample: which of its samples.
        names: the parameters that may move.
    """
    vectors = _MOST_PRODUCTS * vector_bytes(subject.model, names)
    return product_bytes(subject, sample, objective_of(subject, "landscape"), "eval", names) + vectors


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


@torch.no_grad()
def _weights_in(model: nn.Module, path: Path) -> dict[str, Tensor]:
    other = copy_of(model)
    fit(read_checkpoint(path), other)
    return _parameters(other)


def _names(files: Sequence[str]) -> list[str]:
    paths = [Path(file) for file in files]
    if len({path.stem for path in paths}) == len(paths):
        return [path.stem for path in paths]
    return [f"{path.parent.name}/{path.stem}" for path in paths]
