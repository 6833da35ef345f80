"""Which tensor of what a network returns is the logits, and how it is read: the one place that decides it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visionscope.core.classes import ClassCounts
from visionscope.core.outputs import Place, dense_places, find_place, place_text, tensor_at, usual_place
from visionscope.core.probabilities import Sigmoids, not_logits
from visionscope.core.sample import DENSE_AXES, MASK_AXES, SampleLike
from visionscope.errors import ConfigError, DataError, NotApplicableError, nearest

OUTPUT_IS = ("logits", "probabilities")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Readout:
    """How the logits are read from what a network returns.

    Attributes:
        place: keys and indices that lead to the tensor, empty for an output that is a tensor; None where it is looked
            for anew in every output, by the counts and the names, and where the values are looked at each time.
        asked: the name or index that a user chose, such as `1`, `out` or `heads.main`; "" for none.
        output_is: `logits` takes the values for logits, whatever they look like; `probabilities` takes their logarithm;
            "" takes them for logits, and refuses those that went through a softmax or sigmoid.
        counts: the numbers of classes that are known.
        columns: of that tensor, the size of the head; 0 where the network was not tried.
        usual: whether `place` is where nearly every network has its logits, so that no digest need tell it.
        dense: whether they are logits per pixel, (batch, classes, height, width); False where it was not tried.
        per_pixel: of a network that also answers per image, the output that could be its logits per pixel, as a user
            writes it; "" for none.
    """

    place: Place | None = None
    asked: str = ""
    output_is: str = ""
    counts: ClassCounts = dataclasses.field(default_factory=ClassCounts)
    columns: int = 0
    usual: bool = True
    dense: bool = False
    per_pixel: str = ""

    def __post_init__(self) -> None:
        if self.output_is not in ("", *OUTPUT_IS):
            raise ConfigError(
                f"output_is: must be one of {', '.join(OUTPUT_IS)}; got {self.output_is!r}."
                f"{nearest(self.output_is, OUTPUT_IS)}"
            )

    @property
    def classes(self) -> int:
        """How many classes the logits tell apart, 2 where the head gives a single one; 0 where it was not tried."""
        return 2 if self.columns == 1 else self.columns

    def logits(self, output: Any) -> Tensor:
        """The logits (batch, classes), or (batch, classes, height, width), in what the network returned.

        A single logit z is read as sigmoid(z) for class 1, which is the softmax of the two logits (0, z). The logarithm
        of probabilities is taken of nothing below the smallest normal number of their type (1.2e-38 in float32), so
        that it is finite.

        Args:
            output: of the network: a tensor, or tensors in tuples, lists, mappings, dataclasses and the like.

        Raises:
            DataError: when no tensor, or more than one, could be the logits, and for values that are none.
        """
        found = self.tensor(output)
        if self.place is None and (reason := not_logits(found, self.output_is, seen_sigmoid=False)):
            raise DataError(reason)
        return self.read(found)

    def after(self, network: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
        """A network followed by this: a function from images to logits as `logits` gives them.

        Args:
            network: a subject's model, or a copy of it.
        """
        return lambda images: self.logits(network(images))

    def tensor(self, output: Any) -> Tensor:
        """The tensor (batch, columns, ...) that the logits are read from, as the network gave it.

        Args:
            output: of the network.

        Raises:
            DataError: when no tensor, or more than one, could be it.
        """
        place = find_place(output, self.counts, self.asked) if self.place is None else self.place
        found = tensor_at(output, place)
        # A head that squeezes its single logit gives (batch,), and () for a single image.
        return found.reshape(-1, self.columns or 1) if found.ndim < 2 else found

    def read(self, values: Tensor) -> Tensor:
        """The logits (batch, classes, ...) that a tensor of `tensor` stands for.

        Args:
            values: (batch, columns, ...).
        """
        if self.output_is == "probabilities":
            wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
            both = torch.cat([1 - wide, wide], 1) if wide.shape[1] == 1 else wide
            return both.clamp_min(torch.finfo(both.dtype).tiny).log()
        return torch.cat([torch.zeros_like(values), values], 1) if values.shape[1] == 1 else values

    def identity(self) -> dict[str, Any] | None:
        """What a job's numbers depend on, for its digest; None for logits where nearly every network has them."""
        probabilities, alone = self.output_is == "probabilities", self.columns == 1
        if self.usual and not probabilities and not alone:
            return None
        kind = "probabilities" if probabilities else "logits"
        return {
            "output": place_text(self.place or ()),
            "is": kind,
            "of": "the second of two classes" if alone else "classes",
        }


def find_readout(
    run: Callable[[Tensor], Any],
    images: Tensor,
    counts: ClassCounts,
    *,
    output: str = "",
    output_is: str = "",
) -> Readout:
    """Tries a network on some images and finds out where its logits are.

    Args:
        run: the network in evaluation mode, without gradients.
        images: (batch, channel, height, width), at least two, whatever they show.
        counts: the numbers of classes that are known.
        output: the name or index that a user chose; "" for none.
        output_is: as in `Readout`.

    Raises:
        ConfigError: for an `output_is` that there isn't.
        DataError: when no output, or more than one, could be the logits; when the outputs are features, or went through
            a softmax or a sigmoid.
    """
    asked = Readout(asked=output, output_is=output_is, counts=counts)
    with Sigmoids() as sigmoids:
        returned = run(images)
    place = find_place(returned, counts, output, images=len(images))
    values = dataclasses.replace(asked, place=place).tensor(returned)
    if (
        place == ()
        and output_is != "logits"
        and counts.headless
        and values.shape[1] not in (*counts.stated, *counts.heads)
    ):
        raise DataError(
            f"gives {values.shape[1]} features, not logits: {counts.headless}; give it a head, or say "
            "--output-is logits (output_is=) if these are logits"
        )
    if reason := not_logits(values, output_is, seen_sigmoid=sigmoids.made(values)):
        raise DataError(reason)
    dense = values.ndim == DENSE_AXES
    others = () if dense else dense_places(returned, len(images))
    return dataclasses.replace(
        asked,
        place=place,
        columns=values.shape[1],
        usual=place == usual_place(returned),
        dense=dense,
        per_pixel=place_text(others[0]) if others else "",
    )


def has_masks(sample: SampleLike) -> bool:
    """Whether a sample's pixels have classes rather than its images; looks at an image where its source doesn't tell.

    Args:
        sample: any.
    """
    source = getattr(sample, "source", None)
    if source is not None:
        return hasattr(source, "mask")
    labels = next(iter(sample.batches(0, 1, 1))).labels
    return labels is not None and labels.ndim == MASK_AXES


def check_answers(label: str, readout: Readout, sample: SampleLike) -> None:
    """Refuses a network that answers per pixel on data without masks, and a classifier on data with masks.

    Args:
        label: how errors call the network.
        readout: how its logits are read; of a network that was not tried nothing is said.
        sample: with its labels, or without.

    Raises:
        NotApplicableError: for the wrong kind.
    """
    if not readout.columns or readout.dense == has_masks(sample):
        return
    if readout.dense:
        raise NotApplicableError(
            f"{label}: answers per pixel, which needs masks, (images, height, width); the data have none"
        )
    other = readout.per_pixel
    remedy = f"; if its output {other} is logits per pixel, name it with --output {other} (output= in Python)"
    raise NotApplicableError(
        f"{label}: answers per image, which needs class labels; the data have masks{remedy if other else ''}"
    )


def of_pixels(logits: Tensor, masks: Tensor) -> Tensor:
    """Logits of a dense network in the size of the masks: the one place in which they are resized.

    Many networks answer at a quarter or an eighth of the size of their images. Theirs are resized bilinearly with
    `align_corners=False`, as transformers does before its own losses.

    Args:
        logits: (batch, classes, height, width) of any size.
        masks: (batch, height, width).

    Raises:
        DataError: for logits per image or labels per image.
    """
    if logits.ndim != DENSE_AXES or masks.ndim != MASK_AXES:
        raise DataError(
            f"a network with logits {_axes(logits)} needs {_labels_of(logits)}; the data have {_labels_of(masks)}"
        )
    size = masks.shape[1:]
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def _axes(logits: Tensor) -> str:
    return (
        "per pixel, (batch, classes, height, width)," if logits.ndim == DENSE_AXES else "per image, (batch, classes),"
    )


def _labels_of(tensor: Tensor) -> str:
    return "masks" if tensor.ndim >= MASK_AXES else "class labels"
