"""A study: which models, on which images, are asked which questions, and how it is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.files import user_path
from visionscope.core.objective import Objective
from visionscope.core.precisions import BF16, FP32, FP64, meant
from visionscope.core.printable import quoted
from visionscope.core.rules import MOST_IMAGES, MOST_PIXELS, check_rules, rule, same_rule, seed_rule, values_of
from visionscope.core.values import Rule, Value, shown
from visionscope.data.draws import STRENGTHS
from visionscope.data.specs import check_apart, check_data_spec, find_data
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.models.find import find_model
from visionscope.models.spec import parse_spec
from visionscope.training.terms import Terms

DEFAULT_DIAGNOSTICS = ("fourier", "variance", "similarity")
PRECISIONS = (FP32, FP64, BF16)
MOST_CHANNELS = 1024
MOST_AREA = 2**24  # pixels of an image: a pass over one already takes gigabytes
ONLY = Value(
    tuple[str, ...],
    Rule(count=(1, 1000), empty=False, longest=200, words="a list of diagnostics, such as fourier,lesion"),
)
"""What `only` takes, the names of `Study.diagnostics`."""
_PAPER_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """All that a run needs; a YAML file and command-line flags both become one of these.

    Attributes:
        models: model specs, `[LABEL=]SPEC[?key=value&...][@FILE[#PART][,FILE...]]`; several files are an ensemble.
        data: images: a folder of photos, of class folders or of Parquet files; torch/NAME; hfds/NAME; or embedded,
            which are drawn shapes. A split follows a colon, `SPEC[:split]`.
        diagnostics: instances of the diagnostics; their fields are their parameters.
        images: number of images that are looked at.
        seed: seed of the choice of images.
        batch: images per forward pass; changes speed and memory only.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...
        precision: of the networks' computations; `bf16` by autocast.
        random_weights: seed of random weights, which replace the pretrained ones.
        n_forward: forward passes with dropout whose mean probabilities are the prediction, in diagnostics that need
            predictions alone; 1 leaves dropout off.
        size: height and width of the input in pixels; by default the model's own.
        mean: mean of each channel, of pixels in [0, 1]; by default the model's own.
        std: standard deviation of each channel; by default the model's own.
        output: name or index of the logits where a network returns several outputs; by default the one with a column
            per class, or a telling name.
        output_is: `probabilities` (after a softmax or sigmoid) or `logits`, where a network's values don't tell.
        points: names of the points to look at; by default those that tracing chooses. Each model takes those that it
            has.
        augmentation: of the training images: `strong` (the paper's), `weak` (crop and flip) or `none`.
        fraction: share of the training images of each class that the networks were trained on, as `train` drew it;
            diagnostics of training images take theirs among these.
        fraction_seed: the seed that drew it.
        label_smoothing: share of each target that is spread over all classes; by default the paper's 0.1 where
            the augmentation is strong, else 0.
        weight_decay: factor of the L2 term.
        decays: parameters in the L2 term: `all`, or `matrices` (those of two or more dimensions).
        out: run folder; the same command resumes it.

    Raises:
        ConfigError: for a value that breaks its parameter's rule.
    """

    models: tuple[str, ...] = rule(
        count=(1, 1000), commas=False, empty=False, longest=65536, words="a list of model specs, one or more"
    )
    data: str = rule(empty=False, words="a data spec, such as embedded or a folder of class folders")
    diagnostics: tuple[Any, ...] = rule(count=(1, 1000))
    images: int = rule(256, least=1, most=MOST_IMAGES)
    seed: int = seed_rule()
    batch: int = rule(32, least=1, most=65536)
    device: str = rule("auto", pattern=r"auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?", words="auto, cpu, cuda or cuda:N")
    precision: str = rule(FP32, choices=PRECISIONS, meant=meant(PRECISIONS))
    random_weights: int | None = seed_rule(None)
    n_forward: int = rule(1, least=1, most=100_000)
    size: tuple[int, int] | None = rule(
        None, least=1, most=MOST_PIXELS, words=f"height and width in pixels, each an integer from 1 to {MOST_PIXELS}"
    )
    mean: tuple[float, ...] | None = rule(None, least=-10_000, most=10_000, count=(1, MOST_CHANNELS))
    std: tuple[float, ...] | None = rule(None, least=1e-6, most=10_000, count=(1, MOST_CHANNELS))
    output: str | None = rule(None, empty=False, longest=1000)
    output_is: Literal["logits", "probabilities"] | None = None
    points: tuple[str, ...] = rule((), empty=False, longest=1000, count=(0, 100_000))
    augmentation: str = rule("strong", choices=STRENGTHS)
    fraction: float = same_rule(Terms, "fraction", 1.0)
    fraction_seed: int = seed_rule()
    label_smoothing: float | None = same_rule(Objective, "label_smoothing", None)
    weight_decay: float = same_rule(Objective, "weight_decay", 0.05)
    decays: str = same_rule(Objective, "decays", "all")
    out: str = rule("visionscope-run", empty=False, words="a run folder")

    def __post_init__(self) -> None:
        """Checks every rule that needs neither a model nor the data."""
        check_rules(self)
        checked_size(self.size)
        check_data_spec(self.data)
        user_path("out", self.out)
        _check_labels(self.models)
        check_normalisation(self.mean, self.std)
        for name in self.only:
            if self.only.count(name) > 1:
                raise ConfigError(f"only: {name} is named twice; name it once")

    @property
    def objective(self) -> Objective:
        """What the models were trained to make small."""
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


def check_named(study: Study) -> None:
    """Checks that the images and the models that a study names are there; needs neither torch nor a diagnostic.

    Args:
        study: what is asked.

    Raises:
        ConfigError: for a model or a file of weights that is not there.
        DataError: for images that are not there.
    """
    find_data(study.data)
    sources = {parse_spec(text).source for text in study.models}
    for text in study.models:
        find_model(text, registered="file" in sources)


def check_asked(study: Study) -> None:
    """Checks what a study asks of its diagnostics, as far as no network is needed for that; needs no torch.

    Args:
        study: what is asked.

    Raises:
        ConfigError: for a run folder among the images, and a precision that a diagnostic's numbers can't be trusted in.
        DataError: for images that are not there.
    """
    out = user_path("out", study.out)
    check_apart(out, study.data)
    for diagnostic in study.diagnostics:
        check_precision(diagnostic, study.precision)
        try:
            check_apart(out, getattr(diagnostic, "folder", "") or "embedded")
        except DataError as error:
            raise DataError(f"{diagnostic.name}.folder: {error}") from None


def check_precision(
    diagnostic: Any, precision: str, refusal: type[ConfigError | NotApplicableError] = ConfigError
) -> None:
    """Checks that the numbers of a diagnostic can be trusted in a precision.

    Args:
        diagnostic: any.
        precision: what was asked for, or the type of the network's weights.
        refusal: the class of the error.

    Raises:
        ConfigError: when they can't; or `refusal`, where it is given.
    """
    if isinstance(diagnostic, MeasuringDiagnostic) and precision not in diagnostic.precisions:
        remedy = f"take {diagnostic.precisions[0]}"
        if precision in ("float16", "bfloat16"):  # nobody asked for it, the weights have it
            remedy = "the type of most weights; take fp64, or convert them with model.float()"
        raise refusal(
            f"precision: {diagnostic.name} is measured in {' or '.join(diagnostic.precisions)} only; "
            f"got {precision!r}, {remedy}"
        )


def _check_labels(models: tuple[str, ...]) -> None:
    seen: dict[str, str] = {}
    for text in models:
        label = parse_spec(text).label
        if label in seen:
            bare = text.removeprefix(f"{label}=")
            other = next(name for name in (f"{label}-{number}" for number in range(2, 10_000)) if name not in seen)
            both = f"{quoted(seen[label])} and {quoted(text)}"
            raise ConfigError(f"models: {both} have one label, {quoted(label)}; write {quoted(f'{other}={bare}')}")
        seen[label] = text


def check_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Checks that mean and std, where both were given, are of as many channels.

    Args:
        mean: per channel, or None.
        std: per channel, or None.

    Raises:
        ConfigError: where they are not.
    """
    if mean and std and len(mean) != len(std):
        raise ConfigError(f"std: must have as many values as mean, {len(mean)}; got {shown(tuple(std))}")


def checked_size(given: Any) -> tuple[int, int] | None:
    """Height and width of a network's input, where they were given.

    Args:
        given: two integers, or None.

    Raises:
        ConfigError: for other values, and for more pixels than can be worked with.
    """
    size: tuple[int, int] | None = values_of(Study)["size"].checked("size", given)
    if size and size[0] * size[1] > MOST_AREA:
        raise ConfigError(f"size: must be {MOST_AREA:,} pixels at most, such as 4096 x 4096; got {shown(size)}")
    return size
