"""Over which of a network's parameters second derivatives are taken, and which it can't have any by."""

import dataclasses
from collections.abc import Iterable, Mapping

from visionscope.core.subject import Subject
from visionscope.errors import NotApplicableError
from visionscope.tracing.opaque import rounded_weights, straight_through


@dataclasses.dataclass(frozen=True)
class MeasuredParameters:
    """The parameters that are measured or moved.

    Attributes:
        which: `trainable` where frozen ones are left out, else `all`.
        names: theirs, in the order of `named_parameters`.
        frozen: how many numbers each parameter has that requires no gradient, by name.
    """

    which: str
    names: tuple[str, ...]
    frozen: Mapping[str, int]

    def frozen_of(self, names: Iterable[str]) -> int:
        """How many of the numbers in some parameters are frozen.

        Args:
            names: measured or not.
        """
        return sum(self.frozen.get(name, 0) for name in names)

    def identity(self) -> list[str]:
        """What a job's numbers and its columns depend on; nothing where no parameter is frozen."""
        return [self.which, *self.frozen] if self.frozen else []


def measured_parameters(subject: Subject, diagnostic: str, asked: str | None) -> MeasuredParameters:
    """The parameters that a diagnostic is asked of: by default the trainable ones where some are frozen, else all.

    Args:
        subject: its model's `requires_grad` flags count.
        diagnostic: its name, for the error.
        asked: `trainable`, `all`, or None for the default.

    Raises:
        NotApplicableError: when there are none, or when they are quantised.
    """
    model = subject.model
    named = {name: value for name, value in model.named_parameters() if value.is_floating_point() or value.is_complex()}
    trainable = [name for name, value in named.items() if value.requires_grad]
    some_frozen = len(trainable) < len(named)
    which = (asked or ("trainable" if trainable else "all")) if some_frozen else "all"
    names = trainable if which == "trainable" else list(named)
    if not names:
        remedy = f"; take --{diagnostic}.parameters all" if named else ""
        raise NotApplicableError(f"{subject.label}: has no {'trainable ' if named else ''}parameters{remedy}")
    rounded = rounded_weights(model)
    if rounded:
        raise NotApplicableError(
            f"{subject.label}: its weights are quantised, such as {rounded!r}, so that they have no neighbours; pass "
            "the model from before quantisation"
        )
    frozen = {name: value.numel() for name, value in named.items() if not value.requires_grad}
    return MeasuredParameters(which, tuple(names), frozen)


def check_differentiable(subject: Subject, diagnostic: str, measured: MeasuredParameters) -> None:
    """Refuses parameters by which there are no second derivatives.

    Args:
        subject: its model holds them.
        diagnostic: its name, for the remedy.
        measured: which they are.

    Raises:
        NotApplicableError: for complex parameters, those made in inference mode, and rounding whose gradient is that
            of no rounding, each by name.
    """
    label, named = subject.label, dict(subject.model.named_parameters())
    for name in measured.names:
        value = named[name]
        if value.is_complex():
            raise NotApplicableError(
                f"{label}: second derivatives are taken over real numbers, and the parameter {name!r} is complex; "
                f"freeze it (requires_grad_(False)) and take --{diagnostic}.parameters trainable for the others"
            )
        if value.is_inference():
            raise NotApplicableError(
                f"{label}: the parameter {name!r} was made under torch.inference_mode, so that it has no gradients; "
                "build the model outside it"
            )
    rounding = straight_through(subject.model)
    if rounding:
        raise NotApplicableError(
            f"{label}: {rounding!r} rounds, and passes gradients on as if it did not, so that second derivatives are "
            "not those of the loss; turn that off: model.apply(torch.ao.quantization.disable_fake_quant)"
        )
