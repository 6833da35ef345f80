"""How the logits of a study's networks are read: each is tried once, before anything is measured."""

from typing import Any

import torch

from visionscope.core.classes import class_counts
from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout, find_readout
from visionscope.core.types import Subject
from visionscope.errors import DataError, NotApplicableError
from visionscope.models.ensemble import Ensemble
from visionscope.running.surroundings import as_found

_TRIED = 4  # images of noise that show where a network has its logits


def readout_of(
    subject: Subject,
    shape: tuple[int, ...],
    *,
    output: str | None,
    output_is: str | None,
    spec: int | None = None,
    data: int | None = None,
) -> Readout:
    """How a subject's logits are read, found by trying the network on noise.

    Where the network can't be run so, its outputs are looked at as they come. An ensemble is given what is found in its
    first member.

    Args:
        subject: on its device, in its precision.
        shape: channels, height and width of its images.
        output: the name or index of the logits that the user chose.
        output_is: `logits`, `probabilities` or None.
        spec: the head's size as the model's source says it.
        data: how many classes the labels are of.

    Raises:
        ConfigError: for another `output_is`.
        NotApplicableError: when the network gives no logits, or more than one output that could be.
    """
    ensemble = subject.model if isinstance(subject.model, Ensemble) else None
    network = subject.model if ensemble is None else ensemble.members[0]
    counts = class_counts(network, spec=spec, data=data)
    asked = Readout(counts=counts, asked=output or "", output_is=output_is or "")
    noise = torch.randn((_TRIED, *shape), generator=torch.Generator().manual_seed(0))
    try:
        noise = noise.to(image_like(network, shape))
        with as_found(network, seed=0), torch.no_grad():
            found = find_readout(network, noise, counts, output=asked.asked, output_is=asked.output_is)
    except DataError as error:
        raise NotApplicableError(f"{subject.label}: {error}") from error
    except Exception:  # of any network; whatever is the matter with it, measuring will say it better
        found = asked
    if ensemble is None:
        return found
    ensemble.readout = found
    return Readout(place=(), columns=found.classes)


def readout_identity(subject: Subject) -> dict[str, Any] | None:
    """What of the way its logits are read belongs into a job's digest; None for what nearly every network does.

    Args:
        subject: with its readout.
    """
    found = subject.model.readout if isinstance(subject.model, Ensemble) else subject.readout
    return found.identity()
