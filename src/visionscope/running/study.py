"""A study: which models, on which images, are asked which questions, and how it is computed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from visionscope.errors import ConfigError, nearest

if TYPE_CHECKING:
    from visionscope.core.objective import Objective

DEFAULT_DIAGNOSTICS = ("fourier", "variance", "similarity")
PRECISIONS = ("fp32", "fp64", "bf16")
_PAPER_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """All that a run needs; a YAML file and command-line flags both become one of these.

    Attributes:
        models: model specs, `[LABEL=]SPEC[?key=value&...][@FILE[#PART][,FILE...]]`; several files are an ensemble.
        data: a data spec, `SPEC[:split]`.
        diagnostics: instances of the diagnostics; their fields are their parameters.
        images: how many images of the data are looked at.
        seed: draws the sample.
        batch: images per forward pass; changes nothing but speed and memory.
        device: `auto` (an accelerator where there is one), `cpu`, `cuda`, `cuda:1`, ...; no part of a job's identity.
        precision: `fp32`, `fp64`, or `bf16` (autocast).
        random_weights: seed of random weights instead of pretrained ones.
        n_forward: forward passes with dropout, whose mean probabilities are the prediction; 1 leaves dropout off.
        size: height and width of the input in pixels instead of the model's own.
        mean: per channel instead of the model's own.
        std: per channel instead of the model's own.
        output: which output of a network that returns several is the logits, by name or index; without it the number of
            classes tells, or the name.
        output_is: `probabilities` for networks that end in a softmax or sigmoid; `logits` for what is refused as such,
            though it is logits; without it values are looked at.
        points: names of points instead of those that tracing chooses; a model takes those that it has.
        augmentation: of the training images, `strong` (the paper's recipe), `weak` (crop and flip) or `none`. This and
            the next three concern the diagnostics that look at the training images alone.
        label_smoothing: of the loss; without it the paper's 0.1 where the augmentation is strong, else 0.
        weight_decay: factor of the L2 term.
        decays: `all` parameters decay, or `matrices` alone.
        out: the run folder.

    Raises:
        ConfigError: for a value that breaks its parameter's rule.
    """

    models: tuple[str, ...]
    data: str
    diagnostics: tuple[Any, ...]
    images: int = 256
    seed: int = 0
    batch: int = 32
    device: str = "auto"
    precision: str = "fp32"
    random_weights: int | None = None
    n_forward: int = 1
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: str | None = None
    output_is: str | None = None
    points: tuple[str, ...] = ()
    augmentation: str = "strong"
    label_smoothing: float | None = None
    weight_decay: float = 0.05
    decays: str = "all"
    out: str = "visionscope-run"

    def __post_init__(self) -> None:
        """Checks every rule that needs neither a model nor the data."""
        _require(bool(self.models), "models", "name at least one model", self.models)
        _require(bool(self.data), "data", "name the images, such as 'embedded' or a folder of class folders", self.data)
        _require(bool(self.out), "out", "name a run folder", self.out)
        _require(bool(self.diagnostics), "only", "name at least one diagnostic", ())
        for name in ("images", "batch", "n_forward"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        for name in ("seed", "random_weights"):
            value = getattr(self, name)
            _require(value is None or value >= 0, name, "must be at least 0", value)
        from visionscope.core.logits import OUTPUT_IS
        from visionscope.data.augmentation import STRENGTHS

        for name, choices in (("precision", PRECISIONS), ("augmentation", STRENGTHS), ("output_is", OUTPUT_IS)):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise ConfigError(
                    f"{name}: must be one of {', '.join(choices)}; got {value!r}.{nearest(value, choices)}"
                )
        _ = self.objective  # checks its own rules
        is_size = self.size is None or (len(self.size) == 2 and min(self.size) >= 1)
        _require(is_size, "size", "must be height and width in pixels", self.size)
        _require(self.std is None or all(value > 0 for value in self.std), "std", "must be positive", self.std)
        repeated = sorted({name for name in self.only if self.only.count(name) > 1})
        _require(not repeated, "only", "name each diagnostic once", repeated)

    @property
    def objective(self) -> Objective:
        """What the models were trained to make small."""
        from visionscope.core.objective import Objective

        smoothing = self.label_smoothing
        if smoothing is None:
            smoothing = _PAPER_SMOOTHING if self.augmentation == "strong" else 0.0
        return Objective(label_smoothing=smoothing, weight_decay=self.weight_decay, decays=self.decays)

    @property
    def only(self) -> tuple[str, ...]:
        """The names of the diagnostics."""
        return tuple(diagnostic.name for diagnostic in self.diagnostics)

    def plain(self) -> dict[str, Any]:
        """The study as plain values, as a YAML file spells it; `config.study_from` reads it back."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "diagnostics":
                values["only"] = list(self.only)
            elif value is not None and value != ():
                values[field.name] = list(value) if isinstance(value, tuple) else value
        for diagnostic in self.diagnostics:
            values[diagnostic.name] = dataclasses.asdict(diagnostic)
        return values


def _require(holds: bool, name: str, rule: str, value: Any) -> None:
    if not holds:
        shown = list(value) if isinstance(value, tuple) else value
        raise ConfigError(f"{name}: {rule}; got {shown!r}")
