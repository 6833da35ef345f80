"""Accuracy lost when one unit of a network is taken out (Park & Kim 2022, Fig. 10b and D.4)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.copying import copy_of
from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.diagnostics import _outcomes, _removals
from visionscope.diagnostics._outcomes import OutcomeRow, first_images
from visionscope.errors import DataError, NotApplicableError
from visionscope.tracing.edit import Unit, block_units, branch_units, convolution_units
from visionscope.tracing.replay import Replay

MODES = ("branch", "conv", "block", "pairs")
_RESUMED = 0.55  # of a forward pass, that a removal takes on average
_RESUMED_PAIR = 0.4
_KEPT_MAPS = 6  # of the size of a point's map, that are kept for each point


@dataclasses.dataclass(frozen=True)
class LesionRow(OutcomeRow):
    """What became of a span of images without one unit, or without any."""

    unit: str = column("what was taken out: a branch's point, or a module; empty for the intact network")
    other_unit: str = column("the second unit of a pair, later in the pass; else empty")
    mode: str = column("branch, conv, block or pairs (of branches)")
    kind: str = column("what the unit does: msa, mlp, conv ...; of a pair the first one; empty for the intact network")
    stage: int = column("of the unit; of a pair the first one's; 0 for the intact network")
    depth: float = column("of the unit's residual sum, 0 to 1; of a pair the first one's; 0 for the intact network")
    how: str = column("what stood in its place: skip operand, identity, subsampled 2x2 ...")
    calls: str = column("of a module that a pass calls several times, which call: `2 of 3`, `all 3`; else empty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesion:
    """Accuracy lost when one unit is removed from the trained network, against depth.

    `branch` removes what a residual sum adds: msa, mlp, conv and the like. The sum gives its skip operand, so that
    projection shortcuts stay and LayerScale goes with the branch. Stem and down-sampling are removed only where they
    are residual sums. `block` removes all branches of a block at once, `pairs` every two branches, with the single ones
    for comparison.

    `conv` removes one k x k convolution, k > 1, inside a block, as the paper does to ResNets: it is replaced by the
    identity. How the paper replaces a strided one is not said; here every stride-th row and column is taken,
    x[:, :, ::s, ::s]. New channels are filled with zeros, split evenly around the old ones as in the shortcuts of
    option A (He et al. 2016), surplus ones are cut off from both ends. Norms and activations stay.

    Where a pass calls a module several times (tied depth, recurrent refinement), each call is a unit of its own, named
    `blocks.0#2` and so on; with `calls` all, the module is taken out of all its calls at once. The table says which.

    Images are passed in batches; what a removal leaves unchanged is kept from the intact pass of the batch, which
    gives the same bits as whole passes do. With bf16, convolutions keep channels last.

    Attributes:
        mode: branch, conv, block or pairs.
        calls: whether of a module that is called several times each call is removed by itself, or all at once.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "lesion"
    version: ClassVar[int] = 2
    row: ClassVar[type] = LesionRow
    sample: ClassVar[str] = "eval"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    mode: Literal["branch", "conv", "block", "pairs"] = "branch"
    calls: Literal["each", "all"] = "each"
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images.

        Args:
            subject: with its sample `eval` and its trace.

        Raises:
            NotApplicableError: when the images have no labels, or the network nothing that this mode removes.
        """
        _outcomes.check_labels(subject, self.sample)
        units = units_of(subject, self.mode, self.calls)
        least = 2 if self.mode == "pairs" else 1
        if len(units) < least:
            raise NotApplicableError(_refusal(subject, self.mode, self.calls))
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """About half a forward pass per image and removal; the kept results of a batch, and a copy of the network.

        Args:
            subject: with its sample and its trace.
        """
        count = len(units_of(subject, self.mode, self.calls))
        pairs = count * (count - 1) / 2 if self.mode == "pairs" else 0
        images = min(SPAN, len(subject.samples[self.sample]))
        parameters = list(subject.model.parameters())
        size = parameters[0].element_size() if parameters else 4
        maps = sum(point.channels * point.grid[0] * point.grid[1] for point in subject.trace.points)
        batch = min(_outcomes.BATCH, images)
        return Cost(
            passes=images * (1 + _RESUMED * count + _RESUMED_PAIR * pairs),
            memory=2 * sum(one.numel() for one in parameters) * size + _KEPT_MAPS * maps * batch * size,
            advice=f"take fewer images (--lesion.sample_size, now {self.sample_size}), bf16, or mode block",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[LesionRow]]]:
        """The rows of each part: the intact network's, then one per removal. A copy of the network is passed.

        Args:
            subject: with its sample `eval` and its trace.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used, or a logit that is not finite.
            TraceError: when the network does something else than its trace said.
        """
        lesions = Lesions(subject, self.mode, self.calls)
        for part in parts:
            yield part, self._rows(subject, lesions, part)

    def summary(self, table: pa.Table) -> pa.Table:
        """The change of accuracy per removal; see `LesionSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _removals.summary(table)

    def figure(self, table: pa.Table) -> Figure:
        """The change against depth, a panel per model; for pairs a map of changes and one of interactions.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _removals.figure(table)

    def _rows(self, subject: Subject, lesions: "Lesions", part: str) -> list[LesionRow]:
        start, stop = span_of(part)
        right: dict[tuple[Unit | None, Unit | None], list[Tensor]] = {}
        losses: dict[tuple[Unit | None, Unit | None], list[Tensor]] = {}
        # One autocast context for the whole span, so that weights are cast to bf16 once.
        with _outcomes.passes(subject):
            for batch in _outcomes.batches(subject, self.sample, start, stop):
                assert batch.labels is not None
                for removed, logits in lesions.outputs(batch.images):
                    try:
                        flags, nll = _outcomes.score(logits, batch.labels, subject=subject, positions=batch.positions)
                    except DataError as error:
                        names = " and ".join(unit.name for unit in removed if unit)
                        raise DataError(f"{error}{names and f', without {names}'}") from error
                    right.setdefault(removed, []).append(flags)
                    losses.setdefault(removed, []).append(nll)
        sample = _outcomes.sample_text(subject.samples[self.sample])
        return [
            LesionRow(
                part=part,
                sample=sample,
                start=start,
                images=stop - start,
                right=_outcomes.bits(torch.cat(right[removed])),
                nll=float(torch.cat(losses[removed]).mean()),
                mode=self.mode,
                **_named(*removed),
            )
            for removed in right
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
            self._network.to(memory_format=torch.channels_last)
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
