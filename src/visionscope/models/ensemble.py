"""Several networks, or several passes with dropout, whose mean probabilities are one prediction."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionscope.core.logits import Readout
from visionscope.core.modes import evaluate
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.load import LoadedModel, load_model
from visionscope.models.spec import ModelSpec, parse_spec

_ELEMENTS = (F.dropout,)
_CHANNELS = (F.dropout1d, F.dropout2d, F.dropout3d)


class Ensemble(nn.Module):
    """Mean softmax over networks and over passes with dropout, as log-probabilities: softmax of them is that mean.

    With `n_forward` passes above 1 dropout is on (Gal & Ghahramani 2016), everything else as in evaluation. Each pass
    is one network: a mask is drawn per dropout and pass, from (seed, member, pass, number of the dropout in the pass),
    and is the same for all images, so that a prediction does not depend on the batch. (The official code draws a mask
    per image, so that it does.) Axis 0 must be the batch's. What calls no dropout in evaluation stays off: drop path,
    alpha dropout, and the dropout of attention weights inside a fused attention.

    Args:
        members: networks of the same classes and inputs; they become part of this one.
        n_forward: passes of each member; 1 leaves dropout off.
        seed: of the masks.

    Attributes:
        readout: how the logits are read from what a member returns.

    Raises:
        ConfigError: for no members, or fewer than 1 pass.
    """

    def __init__(self, members: Sequence[nn.Module], n_forward: int = 1, seed: int = 0) -> None:
        super().__init__()
        if not members:
            raise ConfigError("members: an ensemble needs at least one network; got none")
        if n_forward < 1:
            raise ConfigError(f"n_forward: must be at least 1; got {n_forward}")
        self.members = nn.ModuleList(members)
        self.n_forward = n_forward
        self.seed = seed
        self.readout = Readout()

    def forward(self, images: Tensor) -> Tensor:
        """`log mean softmax`, (batch, classes), added up in the logarithm so that nothing underflows.

        Args:
            images: (batch, channel, height, width).

        Raises:
            ConfigError: for passes with dropout of a network that has none.
        """
        total: Tensor | None = None
        for number, member in enumerate(self.members):
            for turn in range(self.n_forward):
                logits = self.readout.logits(self.output(member, f"{self.seed}/{number}/{turn}", images))
                log_p = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
                total = log_p if total is None else torch.logaddexp(total, log_p)
        assert total is not None  # there is a member and a pass
        return total - math.log(len(self.members) * self.n_forward)

    def output(self, member: nn.Module, key: str, images: Tensor) -> Any:
        """What one pass of a member returns.

        Args:
            member: one of the networks.
            key: what its dropout's masks are drawn from.
            images: (batch, channel, height, width).

        Raises:
            ConfigError: for a pass with dropout of a network that has none.
        """
        if self.n_forward == 1:
            return member(images)
        with _Dropout(key) as dropout:
            output = member(images)
        if not dropout.drawn:
            raise ConfigError(
                f"n_forward: needs a network with dropout of a rate above 0, or all passes are equal; got "
                f"{self.n_forward}, take 1"
            )
        return output


class _Dropout(TorchFunctionMode):
    """Draws what every dropout of a pass leaves out, as modules or as functions."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self.drawn = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ELEMENTS or func in _CHANNELS:
            return self._dropped(*args[:2], whole=func in _CHANNELS, **kwargs)
        return func(*args, **kwargs)

    def _dropped(self, input: Tensor, p: float = 0.5, *, whole: bool, **_: Any) -> Tensor:
        if not p:
            return input
        shape = (input.shape[1], *(1,) * (input.ndim - 2)) if whole else input.shape[1:]
        digest = hashlib.sha256(f"{self._key}/{self.drawn}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        self.drawn += 1
        kept = torch.rand((1, *shape), generator=generator) >= p
        return input * (kept.to(input) / (1 - p if p < 1 else 1))


def load_subject(
    spec: str | ModelSpec,
    *,
    n_forward: int = 1,
    seed: int = 0,
    random_weights: int | None = None,
    size: int | tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> LoadedModel:
    """Loads what a spec describes: a network as `load_model` does, or an `Ensemble`.

    `SPEC@FILE,FILE` is an ensemble of one architecture with several files of weights. More than one pass makes an
    ensemble of a single network, too.

    Args:
        spec: as `parse_spec` reads it, or its result.
        n_forward: passes with dropout of each network; 1 leaves dropout off.
        seed: of the dropout.
        random_weights: as in `load_model`; so are the next three.
        size: height and width in pixels.
        mean: per channel.
        std: per channel.

    Raises:
        ConfigError: for what `load_model` refuses, members that are no ensemble, and passes with dropout of a network
            that has none.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    files = [spec.checkpoint, *spec.others]
    members = [
        load_model(
            dataclasses.replace(spec, checkpoint=file, others=()),
            random_weights=random_weights,
            size=size,
            mean=mean,
            std=std,
        )
        for file in files
    ]
    first = members[0]
    if len(members) == 1 and n_forward == 1:
        return first
    _check(spec, members)
    model = Ensemble([member.model for member in members], n_forward, seed)
    evaluate(model)
    names = ", ".join(member.weights.removeprefix("checkpoint ") for member in members)
    weights = first.weights if len(members) == 1 else f"mean of {len(members)} checkpoints: {names}"
    identity = " ".join(member.digest for member in members)
    if n_forward > 1:
        weights += f"; {n_forward} passes with dropout"
        identity += f" n_forward={n_forward} seed={seed}"
        _try(spec, model, first.input)
    return dataclasses.replace(
        first,
        model=model,
        spec=dataclasses.replace(first.spec, others=spec.others),
        weights=weights,
        architecture=f"{first.architecture} members={len(members)} n_forward={n_forward}",
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        fraction=first.fraction if len({member.fraction for member in members}) == 1 else None,
    )


def _check(spec: ModelSpec, members: Sequence[LoadedModel]) -> None:
    """Refuses members of which the mean means nothing."""
    digests = [member.digest for member in members]
    for place, member in enumerate(members):
        name = member.spec.checkpoint
        if member.digest in digests[:place]:
            raise ConfigError(f"{spec.label}: {name} holds the weights of another member; name each once")
        for what in ("architecture", "num_classes", "input"):
            own, wanted = getattr(member, what), getattr(members[0], what)
            if own != wanted:
                raise ConfigError(
                    f"{spec.label}: members must agree in {what}; {name} has {own}, the first member {wanted}"
                )


def _try(spec: ModelSpec, model: Ensemble, config: InputConfig) -> None:
    with torch.no_grad():
        try:
            model.output(model.members[0], "", torch.zeros(1, len(config.mean), *config.size))
        except ConfigError as error:
            raise ConfigError(f"{spec.label}: {error}") from error
