"""How the logits of a study's networks are read: each is tried once, before anything is measured."""

import functools
from typing import Any

import torch
from torch import nn

from visionscope.core.classes import class_counts
from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout, find_readout
from visionscope.core.subject import Subject
from visionscope.errors import DataError, NotApplicableError
from visionscope.models.ensemble import Ensemble
from visionscope.running.surroundings import as_found

_TRIED = 4  # images of noise that show where a network has its logits


class Reading:
    """How the logits of one network are read; the network is tried on noise when that is asked for.

    Where it can't be run so, its outputs are looked at as they come. An ensemble is given what is found in its first
    member.
    """

    def __init__(
        self,
        label: str,
        network: nn.Module,
        shape: tuple[int, ...],
        *,
        output: str | None,
        output_is: str | None,
        stated: int | None = None,
    ) -> None:
        """Takes what is asked; looks at nothing yet.

        Args:
            label: how errors call it.
            network: on its device, in its precision.
            shape: channels, height and width of its images.
            output: the name or index of the logits that the user chose.
            output_is: `logits`, `probabilities` or None.
            stated: the head's size as the model's source says it.
        """
        self._label, self._network, self._shape, self._stated = label, network, shape, stated
        self._asked: dict[str, str] = {"output": output or "", "output_is": output_is or ""}
        self._found = functools.cache(self._find)

    def classes(self) -> int | None:
        """How many classes the network tells apart: as its outputs show, else as is stated; None where neither tells.

        Raises:
            ConfigError: for another `output_is`.
            NotApplicableError: when it is said to have no classifier, so that its outputs are features.
        """
        if self._stated == 0:
            raise NotApplicableError(f"{self._label}: has no classifier (num_classes=0)")
        try:
            found = self.readout(None).classes
        except NotApplicableError:
            found = 0
        return found or (2 if self._stated == 1 else self._stated)

    def is_dense(self) -> bool:
        """Whether it is seen to answer per pixel.

        Raises:
            ConfigError: for another `output_is`.
        """
        try:
            return self.readout(None).dense
        except NotApplicableError:
            return False

    def readout(self, data: int | None) -> Readout:
        """How its logits are read: as the network tells alone, else, where it tells nothing or not enough, by the data.

        Args:
            data: how many classes the labels are of.

        Raises:
            ConfigError: for another `output_is`.
            NotApplicableError: when the network gives no logits, or more than one output that could be.
        """
        if data is None:
            return self._found(None)
        if class_counts(self._member(), spec=self._stated).known:
            try:
                return self._found(None)
            except NotApplicableError:
                pass
        return self._found(data)

    def _member(self) -> nn.Module:
        return self._network.members[0] if isinstance(self._network, Ensemble) else self._network

    def _find(self, data: int | None) -> Readout:
        member = self._member()
        counts = class_counts(member, spec=self._stated, data=data)
        noise = torch.randn((_TRIED, *self._shape), generator=torch.Generator().manual_seed(0))
        found = Readout(counts=counts, asked=self._asked["output"], output_is=self._asked["output_is"])
        try:
            noise = noise.to(image_like(member, self._shape))
            with as_found(member, seed=0), torch.no_grad():
                found = find_readout(member, noise, counts, **self._asked)
        except DataError as error:
            raise NotApplicableError(f"{self._label}: {error}") from error
        except Exception:  # of any network; whatever is the matter with it, measuring will say it better
            pass
        if not isinstance(self._network, Ensemble):
            return found
        self._network.readout = found
        return Readout(place=(), columns=found.classes, dense=found.dense, per_pixel=found.per_pixel)


def readout_identity(subject: Subject) -> dict[str, Any] | None:
    """What of the way its logits are read belongs into a job's digest; None for what nearly every network does.

    Args:
        subject: with its readout.
    """
    found = subject.model.readout if isinstance(subject.model, Ensemble) else subject.readout
    return found.identity()
