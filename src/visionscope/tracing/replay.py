"""Passes of a model with a part taken out, resumed from what a recorded pass of the same images had computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.errors import TraceError
from visionscope.tracing.edit import Edit
from visionscope.tracing.passes import DivergedError, Kept, Learned, Pass
from visionscope.tracing.record import tensors_in
from visionscope.tracing.watch import refuse_wrapped

_LEARNED = 2  # images that a model's calls are learned from
_INTACT = Edit()


@dataclasses.dataclass
class Recording:
    """A pass, and what of it later ones resume from.

    Attributes:
        images: that it was a pass of.
        edit: what it was done without.
        output: the model's.
        kept: results of calls, by place.
    """

    images: Tensor
    edit: Edit
    output: Any
    kept: dict[int, Kept]


class Replay:
    """Passes of a model without some of its parts, bit for bit what whole passes give.

    `record` keeps the results of those module calls that a later pass needs. `resume` hands them out again instead of
    every call that ended before the removed part, the branch that is removed included; operations between calls are
    done again. A call is handed out only where that is all there is to it: its result is made of tensors, and it
    changes none of its arguments. Tensors that are overwritten later are kept and handed out as copies. Every
    resumption is checked, on two images, to give back the bits of the intact pass; where it does not, whole passes
    are made.

    Use it under `torch.no_grad` (not `inference_mode`, whose tensors count no versions) and, for low precision, inside
    one autocast context, so that weights are cast once. The fused path of nn.MultiheadAttention is off inside.

    Attributes:
        whole: the edits for which whole passes are made.
    """

    def __init__(self, model: nn.Module, edits: Sequence[Edit], images: Tensor) -> None:
        """Learns the model's calls from a pass of two images.

        Args:
            model: the network, in evaluation mode.
            edits: what will be taken out of it.
            images: some, of the size and type of all later ones.

        Raises:
            TraceError: for compiled, scripted and DataParallel models, and where a removed part is not reached.
        """
        refuse_wrapped(model)
        self._learned = Learned(model)
        self.whole: set[Edit] = set()
        few = images[:_LEARNED]
        first = Pass(self._learned, _INTACT, keep=None)
        output = first.run(few.clone())
        self._learned.calls = first.calls
        self._refuse_loops(images)
        self._learned.overwritten = {place for place, kept in first.kept.items() if not kept.is_intact()}
        self._sites = {
            (call.path, call.number, n): t for call in self._learned.calls for n, t in enumerate(call.additions)
        }
        self._handed = {edit: self._before(self._time(edit)) for edit in edits}
        self._check(few, output)

    def _refuse_loops(self, images: Tensor) -> None:
        """A network that runs once for each image has no call that is one of its branches for all of them."""
        more = images[: _LEARNED + 1]
        if len(more) <= _LEARNED:
            return
        second = Pass(Learned(self._learned.model), _INTACT)
        second.run(more.clone())
        if [call.path for call in second.calls] != [call.path for call in self._learned.calls]:
            raise TraceError(
                f"{type(self._learned.model).__name__}: a pass of {len(more)} images makes other calls than one of "
                f"{_LEARNED}; let it run on whole batches, so that a part can be taken out for every image"
            )

    def record(
        self, images: Tensor, edit: Edit = _INTACT, *, later: Sequence[Edit], base: Recording | None = None
    ) -> Recording:
        """A pass whose results are kept as far as later ones need them.

        Args:
            images: (batch, channel, height, width).
            edit: what is taken out of this pass.
            later: the edits that will be resumed from it, each later in the pass than `edit`.
            base: of the intact pass of the same images, to be resumed from.

        Raises:
            TraceError: where a removed part is not reached.
        """
        keep = {place for one in later if one not in self.whole for place in self._handed[one]}
        resumed = base is not None and edit not in self.whole
        run = Pass(self._learned, edit, handed=self._picked(base, edit) if base and resumed else None, keep=keep)
        try:
            output = self._run(run, images, edit)
        except DivergedError:
            self.whole.update(self._handed)
            return Recording(images, edit, self.full(images, edit), {})
        spoiled = run.spoiled()
        if base is not None and spoiled:
            self._mend(base, spoiled)
            return self.record(images, edit, later=later, base=base)
        return Recording(images, edit, output, run.kept)

    def resume(self, recording: Recording, edit: Edit) -> Any:
        """The model's output without a part, or, where the recorded pass was without another, without both.

        Args:
            recording: of the images.
            edit: one of those that were named as later ones.

        Raises:
            TraceError: where the removed part is not reached.
        """
        both = recording.edit | edit
        if edit in self.whole:
            return self.full(recording.images, both)
        run = Pass(self._learned, both, handed=self._picked(recording, edit))
        try:
            output = self._run(run, recording.images, edit)
        except DivergedError:
            self.whole.add(edit)
            return self.full(recording.images, both)
        self._mend(recording, run.spoiled())
        return output

    def full(self, images: Tensor, edit: Edit = _INTACT) -> Any:
        """The same by a whole pass.

        Args:
            images: (batch, channel, height, width).
            edit: what is taken out.

        Raises:
            TraceError: where the removed part is not reached.
        """
        return self._run(Pass(self._learned, edit, learning=True), images, edit)

    def _run(self, run: Pass, images: Tensor, edit: Edit) -> Any:
        # A model may overwrite what it is given.
        output = run.run(images.clone())
        missing = {*edit.sums, *edit.modules, *edit.calls} - run.reached
        if missing:
            raise TraceError(f"{type(self._learned.model).__name__}: the pass does not reach {missing.pop()}")
        return output

    def _picked(self, recording: Recording, edit: Edit) -> dict[int, Kept]:
        return {place: recording.kept[place] for place in self._handed[edit]}

    def _time(self, edit: Edit) -> int:
        """When the pass comes to the first part that is taken out."""
        times = [self._sites.get((one.path, one.call, one.number), -1) for one in edit.sums]
        for path in edit.modules:
            times.append(min((call.began for call in self._learned.calls if call.path == path), default=-1))
        for one in edit.calls:
            times.append(
                min((call.began for call in self._learned.calls if (call.path, call.number) == one), default=-1)
            )
        if not times or min(times) < 0:
            raise TraceError(f"{type(self._learned.model).__name__}: the pass does not reach {edit}")
        return min(times)

    def _before(self, time: int) -> tuple[int, ...]:
        """The outermost skippable calls that ended before a time."""
        found, free = [], 0
        for call in self._learned.calls:
            if call.place >= free and call.skippable and call.ended < time:
                found.append(call.place)
                free = call.after
        return tuple(found)

    def _check(self, images: Tensor, output: Any) -> None:
        """Resumes the intact pass wherever one will be resumed; where bits differ, whole passes will be made."""
        wanted = [tensor for _, tensor in tensors_in(output)]
        recording = self.record(images, later=tuple(self._handed))
        for edit in self._handed:
            if edit in self.whole:
                continue
            run = Pass(self._learned, _INTACT, handed=self._picked(recording, edit))
            try:
                found = [tensor for _, tensor in tensors_in(run.run(images.clone()))]
            except DivergedError:
                found = []
            if len(found) != len(wanted) or not all(map(torch.equal, found, wanted)):
                self.whole.add(edit)
            self._mend(recording, run.spoiled())

    def _mend(self, recording: Recording, spoiled: set[int]) -> None:
        """Records anew what a resumed pass has overwritten, and hands it out as copies from now on."""
        if spoiled:
            self._learned.overwritten |= spoiled
            again = Pass(self._learned, recording.edit, keep=recording.kept)
            again.run(recording.images.clone())
            recording.kept = again.kept
