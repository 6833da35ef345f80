"""How the images of a notebook's network are wanted: told by the network, by its spec or by the caller."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from visionscope.core.finite import check_finite
from visionscope.core.inputs import channels_taken
from visionscope.core.sample import InputConfig
from visionscope.core.values import is_whole
from visionscope.errors import ConfigError
from visionscope.models.ensemble import load_subject
from visionscope.models.load import LoadedModel
from visionscope.models.preprocessing import given_parts, input_config, stated_parts
from visionscope.models.spec import ModelSpec
from visionscope.running.handed import checked_input
from visionscope.running.study import check_normalisation, checked_size
from visionscope.tracing.opaque import check_ready

_UNKNOWN = InputConfig(size=(0, 0), mean=(), std=())


class WantedInput:
    """A model of a notebook, and how it wants its images.

    Args:
        model: a network, or a model spec.
        input: all of it, or None.
        size: height and width in pixels, one number for both, or None; like `mean` and `std` instead of `input`.
        mean: per channel, of pixels in [0, 1], or None.
        std: per channel, or None.

    Raises:
        ConfigError: for a value that breaks its rule, and for `input` beside one of the others.
    """

    def __init__(
        self,
        model: nn.Module | str,
        input: InputConfig | None = None,
        size: int | tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self._model, self._input = model, checked_input(input)
        own = {"size": size, "mean": mean, "std": std}
        beside = [name for name, value in own.items() if value is not None]
        if input is not None and beside:
            raise ConfigError(f"{beside[0]}: input says it already; leave one of them out")
        self._size = checked_size((size, size) if is_whole(size) else size)
        self._parts = given_parts(self._size, mean, std)  # type: ignore[arg-type]
        check_normalisation(self._parts.get("mean"), self._parts.get("std"))

    def loaded(self, *, normalised: bool) -> LoadedModel:
        """The model as it is measured.

        Args:
            normalised: whether size, mean and std of a network must be known, which a spec tells.

        Raises:
            VisionscopeError: for a spec that names no model, a network that can't be measured, and where size, mean
                and std are wanted but not known.
        """
        if isinstance(self._model, str):
            return self._of_spec
        network, name = self._model, type(self._model).__name__
        check_ready(network)
        check_finite(network, name)
        return LoadedModel(
            model=network,
            label=name,
            spec=ModelSpec(label=name, source="", name=""),
            weights="as given",
            architecture=name,
            input=self.known() if normalised else _UNKNOWN,
            num_classes=None,
            digest="",
        )

    def known(self) -> InputConfig:
        """How the images are wanted.

        Raises:
            ConfigError: where nothing says it.
        """
        if isinstance(self._model, str):
            return self._of_spec.input
        if self._input is not None:
            return self._input
        parts: dict[str, Any] = {**stated_parts(self._model), **self._parts}
        missing = [name for name in ("size", "mean", "std") if name not in parts]
        if missing:
            raise ConfigError(
                f"images: {type(self._model).__name__} does not say how it wants its images; give "
                f"{', '.join(f'{name}=' for name in missing)}, such as size=(224, 224), mean=(0.485, 0.456, 0.406), "
                "std=(0.229, 0.224, 0.225), or pass a tensor of normalised images"
            )
        parts["channels"] = channels_taken(self._model, parts["size"], parts.get("channels"))
        return input_config(type(self._model).__name__, parts, self._parts)

    def of(self, images: object) -> InputConfig | None:
        """How images that were handed in are normalised; None where nobody says it.

        Args:
            images: a tensor or a sample.

        Raises:
            ConfigError: for another size than that of the tensor, and where mean is given without std or the reverse.
        """
        if isinstance(self._model, str):
            return self._of_spec.input
        if self._input is not None or not self._parts:
            return self._input
        shape = tuple(images.shape[-2:]) if isinstance(images, Tensor) else None
        if shape and self._parts.get("size", shape) != shape:
            raise ConfigError(f"size: must be that of the images, {shape}; got {self._parts['size']}")
        if ("mean" in self._parts) != ("std" in self._parts):
            raise ConfigError("std: must be given together with mean")
        return None if "mean" not in self._parts else InputConfig(**{"size": shape or (0, 0), **self._parts})

    @functools.cached_property
    def _of_spec(self) -> LoadedModel:
        assert isinstance(self._model, str)
        if self._input is None:
            return load_subject(self._model, **self._parts)
        own = {name: getattr(self._input, name) for name in ("size", "mean", "std")}
        return dataclasses.replace(load_subject(self._model, **own), input=self._input)
