"""From a model spec to a network in eval mode, with its weights, its input configuration and its identity."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from visionscope.core.finite import check_finite
from visionscope.core.inputs import channels_taken
from visionscope.core.modes import evaluate
from visionscope.core.printable import printable, quoted
from visionscope.core.rules import SEEDS
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError
from visionscope.models.builders import BUILDERS, Built, torchvision_names
from visionscope.models.checkpoint import Checkpoint, read_checkpoint
from visionscope.models.decoders import SEGMENTER
from visionscope.models.fitting import fit, head_size
from visionscope.models.foreign_arguments import check_foreign
from visionscope.models.identity import entries
from visionscope.models.preprocessing import check_parts, given_parts, input_config
from visionscope.models.snapshots import Moment
from visionscope.models.spec import BLOCK_CHANGES, ModelSpec, parse_spec
from visionscope.models.surgery import BlockChange, change_blocks, changes_text, read_changes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network, ready to be looked into.

    Attributes:
        model: in eval mode, on the CPU, in float32.
        label: how tables and figures call it.
        spec: what it was loaded from, with the arguments that the checkpoint added.
        weights: `pretrained`, `random, seed 0`, `checkpoint NAME` (with what was taken of it, where that is not all) or
            `set by the factory`.
        architecture: identity of code and arguments.
        input: how it wants its images.
        num_classes: size of its head, or None where it doesn't say.
        digest: sha256 over the architecture and the names, types, shapes and bytes of its state.
        fraction: share of the training images that it was trained on, as the checkpoint says it, or None.
        moment: of the training that wrote the checkpoint, or None.
    """

    model: nn.Module
    label: str
    spec: ModelSpec
    weights: str
    architecture: str
    input: InputConfig
    num_classes: int | None
    digest: str
    fraction: float | None = None
    moment: Moment | None = None


class NoWeightsError(ConfigError):
    """Pretrained weights can't be had.

    Args:
        name: of the network, as a spec.
        reason: why.
        instead: how random ones are asked for.
    """

    def __init__(self, name: str, reason: str, instead: str = "ask for random ones with --random-weights SEED") -> None:
        super().__init__(name, reason, instead)  # as it is pickled on the way from a worker
        self.name, self.reason, self.instead = name, reason, instead

    def __str__(self) -> str:
        return (
            f"{self.name}: no pretrained weights are available ({self.reason}); "
            f"name a file of weights, {self.name}@FILE, or {self.instead}"
        )


def load_model(
    spec: str | ModelSpec,
    *,
    random_weights: int | None = None,
    size: int | tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    normalised: bool = True,
) -> LoadedModel:
    """Loads the network of a spec, with the weights of its `@FILE`, else random ones if asked for, else pretrained.

    The head's size and the architecture's arguments come from the spec, else from the checkpoint's metadata, else (the
    head) from the checkpoint's shapes. The input configuration comes from `size`, `mean` and `std`, else from the
    checkpoint's metadata, else from the source: timm's data configuration, torchvision's transforms, Hugging Face's
    image processor (where there is none: the configuration's image size, or 224, with mean and std 0.5), the
    `pretrained_cfg` of a Python file's factory, whose number of channels is tried. A timm model of fixed size is built
    at `size`.

    Blocks that `?block_changes=` or the checkpoint's metadata name take the places of the architecture's own, and have
    weights from the same seed where no file brings them.

    A Python file's factory is called with two seeds: weights that differ are random and must be asked for, weights that
    agree were set by the factory.

    Args:
        spec: as `parse_spec` reads it, or its result.
        random_weights: seed of random weights, for a spec without `@FILE`; torch's own generator is left as it was.
        size: height and width in pixels; an int is both.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        normalised: whether mean and std must be known. What looks at shapes alone does without: they are 0 and 1 where
            nothing says them.

    Raises:
        ConfigError: for an unknown name, arguments that the architecture refuses or that a file may not set, weights
            that can't be had, don't fit or hold NaN or infinity, a seed that torch doesn't take, or an input
            configuration with a part missing or out of range.
    """
    spec = _parsed(spec)
    spec.check_single()
    given = given_parts(size, mean, std)
    builder = BUILDERS[spec.source]
    _check_seed(random_weights)
    stored = read_checkpoint(spec.checkpoint) if spec.checkpoint else None
    if stored:
        asked = {key: own for key, own in stored.arguments.items() if key not in spec.arguments}
        of_segmenter = spec.source == "timm" and spec.name == SEGMENTER
        check_foreign(stored.path, asked, ("backbone", "decoder") if of_segmenter else ())
    blocks = _blocks(spec, stored)
    arguments = {**stored.arguments, **spec.arguments} if stored else dict(spec.arguments)
    arguments.pop(BLOCK_CHANGES, None)  # no constructor knows it, and a file of these weights says it in its own way
    complete = dataclasses.replace(spec, arguments=dict(arguments))

    def build(seed: int, *, pretrained: bool = False) -> Built:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs, too
            built = builder(spec.name, arguments, pretrained, given.get("size"))
        if blocks:
            change_blocks(built.model, blocks, seed=seed)
            built = dataclasses.replace(built, architecture=f"{built.architecture} {changes_text(blocks)}")
        return built

    if stored:
        built = build(0)
        head = "num_labels" if spec.source == "hf" else "num_classes"
        found = head_size(stored, built.model, built.num_classes, built.convert)
        if head not in spec.arguments and None not in (found, built.num_classes) and found != built.num_classes:
            arguments[head] = found
            built = build(0)
        fitted = fit(stored, built.model, built.convert)
        weights = f"checkpoint {stored.path.name}" + (f" ({fitted.note})" if fitted.note else "")
        epsilon = fitted.layer_norm_eps
        if epsilon is not None:  # results depend on it, and no state holds it
            built = dataclasses.replace(built, architecture=f"{built.architecture} layer_norm_eps={epsilon}")
    elif spec.source == "file" and _equal_states(build(0).model, build(1).model):
        built, weights = build(0), "set by the factory"
    elif random_weights is not None:
        built, weights = build(random_weights), f"random, seed {random_weights}"
    else:
        built, weights = _pretrained(spec, build), "pretrained"
    evaluate(built.model)
    digest = state_digest(built.model, built.architecture)
    check_finite(built.model, spec.label)
    return LoadedModel(
        model=built.model,
        label=spec.label,
        spec=complete,
        weights=weights,
        architecture=built.architecture,
        input=input_config(spec.text, _source_parts(spec, built, stored, given), given, normalised=normalised),
        num_classes=built.num_classes,
        digest=digest,
        fraction=stored.fraction if stored else None,
        moment=stored.moment if stored else None,
    )


def _parsed(spec: object) -> ModelSpec:
    if isinstance(spec, (str, ModelSpec)):
        return parse_spec(spec) if isinstance(spec, str) else spec
    raise ConfigError(f"spec: must be a model spec such as 'resnet18'; got {quoted(spec)}")


def _blocks(spec: ModelSpec, stored: Checkpoint | None) -> tuple[BlockChange, ...]:
    """The blocks that are others than the architecture's own, by the spec, the file, or both where they agree."""
    held = stored.blocks if stored else ()
    if BLOCK_CHANGES not in spec.arguments:
        return held
    try:
        asked = read_changes(spec.arguments[BLOCK_CHANGES])
    except ValueError as error:
        raise ConfigError(f"{spec.label}: {BLOCK_CHANGES}: {error}") from error
    if held and held != asked:
        raise ConfigError(
            f"{spec.label}: {BLOCK_CHANGES} are not those of the file, whose weights belong to its own; leave them out"
        )
    return asked


def _check_seed(seed: object) -> None:
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if seed is not None and not (whole and 0 <= int(seed) < SEEDS):  # type: ignore[call-overload]
        raise ConfigError(f"random_weights: must be an integer from 0 to {SEEDS - 1}; got {quoted(seed)}")


def _source_parts(
    spec: ModelSpec, built: Built, stored: Checkpoint | None, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What the source and the checkpoint say of the input; of a Python file the number of channels is tried."""
    parts = {**built.parts, **(stored.input if stored else {})}
    check_parts(spec.text, {**parts, **given})
    size = given.get("size", parts.get("size"))
    if spec.source == "file" and size and len(size) == 2 and min(size) > 0:
        parts["channels"] = channels_taken(built.model, size, parts.get("channels"))
    return parts


def list_models(pattern: str = "") -> tuple[str, ...]:
    """The names that timm has registered (ours among them) and torchvision's classification models, sorted within each.

    Args:
        pattern: with `*`, `?` or `[` it is matched against the whole name, otherwise looked for inside it.
    """
    names = [*timm.list_models(), *(f"torchvision:{name}" for name in torchvision_names())]
    if any(sign in pattern for sign in "*?["):
        return tuple(name for name in names if fnmatch.fnmatchcase(name, pattern))
    return tuple(name for name in names if pattern in name)


def state_digest(model: nn.Module, architecture: str) -> str:
    """sha256 over an architecture's identity and the names, types, shapes and bytes of a model's state, in hex.

    Args:
        model: its `state_dict` is read, and what `identity.entries` finds beside it.
        architecture: as in `LoadedModel`.

    Raises:
        ConfigError: for weights on the meta device, without a shape, or sparse.
    """
    digest = hashlib.sha256(architecture.encode())
    for name, value in entries(model):
        if isinstance(value, Tensor):
            if is_lazy(value):
                raise ConfigError(f"model: {name!r} has no shape yet; show the network some images in the factory")
            if value.is_meta:
                raise ConfigError(f"model: weights are on the meta device, such as {name!r}; load them first")
            if value.layout != torch.strided or value.is_nested:
                raise ConfigError(f"model: {quoted(name)} is sparse or nested; call .to_dense() on it first")
            digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"\n{name} {value!r}\n".encode())
    return digest.hexdigest()


def _pretrained(spec: ModelSpec, build: Callable[..., Built]) -> Built:
    reason = "the function returns random weights"
    if spec.source != "file":
        try:
            return build(0, pretrained=True)
        except ConfigError:
            raise
        except Exception as error:  # hub clients raise errors of many libraries
            build(0)  # raises the better error where the arguments are at fault
            reason = printable(str(error).strip().partition("\n")[0])[:300] or type(error).__name__
    raise NoWeightsError(dataclasses.replace(spec, checkpoint=None).text, reason)


def _equal_states(one: nn.Module, other: nn.Module) -> bool:
    return state_digest(one, "") == state_digest(other, "")
