"""The passes of a network without one of its units."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from visionscope.core.copying import channels_last, copy_of
from visionscope.core.diagnostic import Cost
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of
from visionscope.core.subject import Subject
from visionscope.diagnostics.lesion.question import Lesion, LesionRow
from visionscope.diagnostics.outcomes.passes import BATCH, Outcomes, batches, passes, sample_text
from visionscope.errors import DataError, NotApplicableError
from visionscope.tracing.edit import Unit, block_units, branch_units, convolution_units
from visionscope.tracing.replay import Replay

MODES = ("branch", "conv", "block", "pairs")
_RESUMED = 0.55  # of a forward pass, that a removal takes on average
_RESUMED_PAIR = 0.4
_KEPT_MAPS = 6  # of the size of a point's map, that are kept for each point


def check(asked: Lesion, subject: Subject) -> None:
    """Refuses a network that has nothing that this mode removes."""
    units = units_of(subject, asked.mode, asked.calls)
    least = 2 if asked.mode == "pairs" else 1
    if len(units) < least:
        raise NotApplicableError(_refusal(subject, asked.mode, asked.calls))


def cost(asked: Lesion, subject: Subject) -> Cost:
    """About half a forward pass per image and removal; the kept results of a batch, and a copy of the network."""
    count = len(units_of(subject, asked.mode, asked.calls))
    pairs = count * (count - 1) / 2 if asked.mode == "pairs" else 0
    images = min(SPAN, len(subject.samples[asked.sample]))
    parameters = list(subject.model.parameters())
    size = parameters[0].element_size() if parameters else 4
    maps = sum(point.channels * point.grid[0] * point.grid[1] for point in subject.trace.points)
    batch = min(BATCH, images)
    return Cost(
        passes=images * (1 + _RESUMED * count + _RESUMED_PAIR * pairs),
        memory=2 * sum(one.numel() for one in parameters) * size + _KEPT_MAPS * maps * batch * size,
        advice=f"take fewer images (--lesion.sample_size, now {asked.sample_size}), bf16, or mode block",
    )


def measure(asked: Lesion, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LesionRow]]]:
    """The rows of each part: the intact network's, then one per removal."""
    lesions = Lesions(subject, asked.mode, asked.calls)
    for part in parts:
        yield part, _rows(asked, subject, lesions, part)


def _rows(asked: Lesion, subject: Subject, lesions: "Lesions", part: str) -> list[LesionRow]:
    start, stop = span_of(part)
    found: dict[tuple[Unit | None, Unit | None], Outcomes] = {}
    # One autocast context for the whole span, so that weights are cast to bf16 once.
    with passes(subject):
        for batch in batches(subject, asked.sample, start, stop):
            for removed, logits in lesions.outputs(batch.images):
                try:
                    found.setdefault(removed, Outcomes(subject)).add(logits, batch)
                except DataError as error:
                    names = " and ".join(unit.name for unit in removed if unit)
                    raise DataError(f"{error}{names and f', without {names}'}") from error
    sample = sample_text(subject.samples[asked.sample])
    return [
        LesionRow(
            part=part,
            sample=sample,
            start=start,
            images=stop - start,
            right=outcomes.right,
            nll=float(outcomes.nll.mean()),
            classes=outcomes.classes,
            mode=asked.mode,
            **_named(*removed),
        )
        for removed, outcomes in found.items()
    ]


class Lesions:
    """A copy of the subject's network, and the passes of it without some unit."""

    def __init__(self, subject: Subject, mode: str, calls: str = "each") -> None:
        """Copies the network.

        Args:
            subject: with its trace.
            mode: what is taken out.
            calls: of what is called several times, `each` call by itself or `all` at once.
        """
        self.units = units_of(subject, mode, calls)
        self._readout = subject.readout
        self._pairs = mode == "pairs"
        # What needs no gradient is cast anew at every use under autocast.
        self._network = copy_of(subject.model).eval().requires_grad_(subject.precision == "bf16")
        self._last = subject.precision == "bf16"
        if self._last:
            channels_last(self._network)
        self.replay: Replay | None = None

    def outputs(self, images: Tensor) -> Iterator[tuple[tuple[Unit | None, Unit | None], Tensor]]:
        """The logits of the intact network, then those without each unit, and with `pairs` without every two.

        To be called without gradients and inside one autocast context.

        Args:
            images: (batch, channel, height, width).
        """
        if self._last:
            images = images.contiguous(memory_format=torch.channels_last)
        edits = [unit.edit for unit in self.units]
        if self.replay is None:
            self.replay = Replay(self._network, edits, images)
        replay, logits_of = self.replay, self._readout.logits
        clean = replay.record(images, later=edits)
        yield (None, None), logits_of(clean.output)
        for place, unit in enumerate(self.units):
            if not self._pairs:
                yield (unit, None), logits_of(replay.resume(clean, unit.edit))
                continue
            further = self.units[place + 1 :]
            without = replay.record(images, unit.edit, later=[other.edit for other in further], base=clean)
            yield (unit, None), logits_of(without.output)
            for other in further:
                yield (unit, other), logits_of(replay.resume(without, other.edit))


def units_of(subject: Subject, mode: str, calls: str) -> tuple[Unit, ...]:
    """What a mode takes out of a subject's network, in the order of the pass.

    Args:
        subject: with its trace.
        mode: one of `MODES`.
        calls: each or all.
    """
    together = calls == "all"
    if mode == "conv":
        return convolution_units(subject.model, subject.trace, together=together)
    units = block_units if mode == "block" else branch_units
    return units(subject.trace, together=together)


def _refusal(subject: Subject, mode: str, calls: str) -> str:
    others = [other for other in MODES if other != mode]
    possible = [other for other in others if len(units_of(subject, other, calls)) > (other == "pairs")]
    instead = f"; take --lesion.mode {possible[0]}" if possible else ", and no other mode has anything to remove either"
    lacks = {
        "conv": "no convolution larger than 1x1 inside a block",
        "pairs": "fewer than two residual sums",
    }.get(mode, "no residual sum that was found")
    return f"{subject.label}: has {lacks} for mode {mode}{instead}"


def _named(unit: Unit | None, other: Unit | None) -> dict[str, Any]:
    if unit is None:
        return {
            "unit": "",
            "other_unit": "",
            "kind": "",
            "stage": 0,
            "depth": 0.0,
            "how": "nothing removed",
            "calls": "",
        }
    return {
        "unit": unit.name,
        "other_unit": other.name if other else "",
        "kind": str(unit.kind),
        "stage": unit.stage,
        "depth": unit.depth,
        "how": unit.how,
        "calls": "; ".join(one.calls for one in (unit, other) if one and one.calls),
    }
