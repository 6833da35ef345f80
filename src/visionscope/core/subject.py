"""One model with its points and its samples: all that a diagnostic is given."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module  # of what imports torch, which the command line does without
from typing import TYPE_CHECKING, Any

from visionscope.core.sample import InputConfig, SampleLike
from visionscope.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visionscope.core.logits import Readout
    from visionscope.core.objective import Objective


class Kind(enum.StrEnum):
    """What a point's branch does, told by the operations that ran in it."""

    STEM = "stem"
    DOWN = "down"
    MSA = "msa"
    MLP = "mlp"
    CONV = "conv"
    POOL = "pool"
    FOURIER = "fourier"
    TOKEN_MLP = "token_mlp"
    BLOCK = "block"


KIND_WORDS: Mapping[Kind, str] = {
    Kind.STEM: "stem",
    Kind.DOWN: "downsampling",
    Kind.MSA: "self-attention",
    Kind.MLP: "MLP",
    Kind.CONV: "convolution",
    Kind.POOL: "pooling",
    Kind.FOURIER: "Fourier mixing",
    Kind.TOKEN_MLP: "token MLP",
    Kind.BLOCK: "block",
}
"""How sentences and legends call them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a model where a feature map exists.

    Attributes:
        name: `blocks.3+msa` is the residual stream after the addition, `blocks.3.msa` what the branch adds;
            a plain module path is that module's output; `stem` is what the first residual block receives.
        kind: what the branch does.
        stage: 0 for the stem, then 1, 2, ...; a stage ends where the grid shrinks.
        depth: index / (number of points - 1), from 0 to 1.
        grid: height and width of the map in positions.
        channels: channels of the map.
        layout: the tensor's axes as an einops pattern over b, c, h, w, such as `b (h w) c`.
        prefix_tokens: class, distillation and register tokens among the grid's tokens, wherever they stand.
        operations: all operations seen in the branch, by name.
        follows: name of the default point that holds the very stream that the branch received, which is what a change
            at this point is measured from; "" where no point holds it.
    """

    name: str
    kind: Kind
    stage: int
    depth: float
    grid: tuple[int, int]
    channels: int
    layout: str
    prefix_tokens: int
    operations: tuple[str, ...] = ()
    follows: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """Some of a model's parameters, whose curvature is looked at on its own.

    Attributes:
        level: `model`, `stage`, `block` or `kind`.
        name: `model`, `stage 2`, `blocks.3`, `msa`, ...
        parameters: their names in `named_parameters`, in that order.
    """

    level: str
    name: str
    parameters: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Update:
    """What the last step of an optimizer changed of a network.

    Attributes:
        change: the weights minus those before the step, by parameter name; parameters that it lacks did not move.
        note: why it is not known; else "".
    """

    change: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """One model with its points and its frozen samples: all that a diagnostic is given.

    Attributes:
        label: how tables and figures call the model.
        model: the network, in eval mode, on its device.
        points: where its feature maps are looked at.
        watch: a context in which a forward pass hands each point's maps (b, c, h, w), in order, to be consumed at once;
            to `beside`, where it is given, also the point's prefix tokens (b, token, c).
        samples: by name: `eval`, `train`, `calibration`, `conflict`.
        precision: `fp32`, `fp64` or `bf16` (autocast).
        objective: what the model was trained to make small; None where only its feature maps are looked at.
        scopes: finds the parameters of the whole model, of each stage, each block and each kind.
        augmentation: how the images of the sample `train` were changed, in words for tables: `strong`, `weak`, `none`.
        input: size and normalisation of the images, for what works in pixel space; None where they are unknown.
        trace: what tracing found (a `tracing.Trace`), for what edits passes; None where nothing did.
        hidden: why the network can't be looked into, so that predictions alone can be asked of it; else "".
        fraction: share of the training images that it was trained on, where its checkpoint says it, else None.
        readout: how the logits are read from what the network returns.
        update: what the last step of the optimizer changed, while the network trains; else None.
    """

    label: str
    model: nn.Module
    points: tuple[Point, ...]
    watch: Callable[..., AbstractContextManager[None]]
    samples: Mapping[str, SampleLike]
    precision: str = "fp32"
    objective: Objective | None = None
    scopes: Callable[[], Sequence[Scope]] = tuple
    augmentation: str = "none"
    input: InputConfig | None = None
    trace: Any = None
    hidden: str = ""
    fraction: float | None = None
    readout: Readout = dataclasses.field(default_factory=lambda: import_module("visionscope.core.logits").Readout())
    update: Update | None = None


def objective_of(subject: Subject, diagnostic: str) -> Objective:
    """The subject's objective.

    Args:
        subject: of a diagnostic that needs one.
        diagnostic: its name, for the error.

    Raises:
        ConfigError: when the subject has none.
    """
    if subject.objective is None:
        raise ConfigError(f"{diagnostic}: needs an objective; give the subject one")
    return subject.objective
