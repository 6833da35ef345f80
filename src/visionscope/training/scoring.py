"""What a training's networks are scored on, and the columns of its log."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from visionscope.core.logits import Readout
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch, InputConfig
from visionscope.data.sources import Source, has_masks
from visionscope.models.load import LoadedModel
from visionscope.training.evaluation import Scores, clean_batches, evaluate
from visionscope.training.feed import Feed
from visionscope.training.images import Images, labels_of
from visionscope.training.mask_scores import MaskScores, constant_accuracy, evaluate_masks, of_counting

SCORE_BATCH = 256  # the paper's
_TRAIN_IMAGES = 2048  # that NLL_train is taken over


def scored(told: dict[str, Any]) -> Scores | MaskScores:
    """The scores of a file's metadata.

    Args:
        told: their fields.

    Raises:
        TypeError: for other fields.
    """
    return MaskScores(**told) if "mean_iou" in told else Scores(**told)


def chance_of(source: Source, config: InputConfig) -> float:
    """What knows nothing of an image can reach: the share of the images, or of their pixels, of one class.

    Args:
        source: that is scored on.
        config: how the model wants its images, which tells the pixels that are scored.

    Raises:
        DataError: when a label or a mask can't be read.
    """
    if has_masks(source):
        return constant_accuracy(source, config)
    return float(labels_of(source).bincount().max()) / len(source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """Measures the networks of one training, in float32, whatever it computes in.

    Attributes:
        fabric: of the training; sums are added over its processes.
        loaded: tells the label and the input configuration.
        readout: how logits are read; that they are of pixels makes other scores.
        objective: what the training makes small.
        test: images of the test split.
        held_images: images among which the held-out ones are.
        held: indices of those that are held out; none where the log is of the test split.
        again: the training images, with other draws than the training's.
        batch_size: images that are scored at a time, over all processes.
    """

    fabric: Fabric
    loaded: LoadedModel
    readout: Readout
    objective: Objective
    test: Images | Source
    held_images: Images | Source
    held: Tensor
    again: Feed
    batch_size: int
    _tested: dict[nn.Module, Scores | MaskScores] = dataclasses.field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the log, the one first by which the best weights are chosen."""
        kind = MaskScores if self.readout.dense else Scores
        return (*(field.name for field in dataclasses.fields(kind) if field.name != "images"), "nll_train")

    def score(self, network: nn.Module) -> dict[str, float]:
        """The columns of the log.

        Args:
            network: as it stands.
        """
        if len(self.held):
            scores = self._clean(network, self.held_images, self.held)
        else:
            scores = self._tested[network] = self._clean(network, self.test)
        batches = self.again.batches(0, math.ceil(min(len(self.again), _TRAIN_IMAGES) / self.batch_size))
        told = {**dataclasses.asdict(scores), "nll_train": self._evaluated(network, of_counting(batches)).nll}
        return {name: told[name] for name in self.columns}

    def final(self, network: nn.Module) -> Scores | MaskScores:
        """On the test images; the last row of the log has measured that already, unless it was held-out images.

        Args:
            network: at the end.
        """
        return self._tested.get(network) or self._clean(network, self.test)

    def _clean(self, network: nn.Module, images: Images | Source, chosen: Tensor | None = None) -> Scores | MaskScores:
        ranks = {"rank": self.fabric.global_rank, "processes": self.fabric.world_size}
        return self._evaluated(
            network, clean_batches(images, self.loaded.input, self.batch_size, chosen=chosen, **ranks)
        )

    def _evaluated(self, network: nn.Module, batches: Iterable[Batch]) -> Scores | MaskScores:
        def reduce(sums: Tensor) -> Tensor:
            added: Any = self.fabric.all_reduce(sums, reduce_op="sum") if self.fabric.world_size > 1 else sums
            return torch.as_tensor(added).cpu()

        told: dict[str, Any] = {"readout": self.readout, "label": self.loaded.label, "reduce": reduce}
        if self.readout.dense:
            return evaluate_masks(network, batches, **told)
        return evaluate(network, batches, self.objective, **told)
