"""From a model spec to a network in eval mode, with its weights, its input configuration and its identity."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from visionscope.core.modes import evaluate
from visionscope.core.types import InputConfig
from visionscope.errors import ConfigError, nearest
from visionscope.models import alternet, cifar, convvit, nano, paper  # noqa: F401  # registers them with timm
from visionscope.models.checkpoint import Convert, State, fit, head_size, read_checkpoint
from visionscope.models.factory import open_factory
from visionscope.models.hub import cache_alone_when_offline
from visionscope.models.identity import entries
from visionscope.models.preprocessing import given_parts, hub_parts, input_config, parts_of
from visionscope.models.spec import ModelSpec, parse_spec
from visionscope.models.surgery import change_blocks, changes_text

# What a Hugging Face configuration says beyond the network itself.
_NAMES_IN_CONFIGS = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "transformers_version")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network, ready to be looked into.

    Attributes:
        model: in eval mode, on the CPU, in float32.
        label: how tables and figures call it.
        spec: what it was loaded from, with the arguments that the checkpoint added.
        weights: `pretrained`, `random, seed 0`, `checkpoint NAME` or `set by the factory`.
        architecture: identity of code and arguments.
        input: how it wants its images.
        num_classes: size of its head, or None where it doesn't say.
        digest: sha256 over the architecture and the names, types, shapes and bytes of its state.
        fraction: share of the training images that it was trained on, as the checkpoint says it, or None.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Built:
    model: nn.Module
    architecture: str
    parts: Mapping[str, Any]
    num_classes: int | None
    convert: Convert | None = None


class _NoWeightsError(Exception):
    """The architecture is there, its pretrained weights are not."""


def load_model(
    spec: str | ModelSpec,
    *,
    random_weights: int | None = None,
    size: int | tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> LoadedModel:
    """Loads the network of a spec, with the weights of its `@FILE`, else random ones if asked for, else pretrained.

    The head's size and the architecture's arguments come from the spec, else from the checkpoint's metadata, else (the
    head) from the checkpoint's shapes. The input configuration comes from `size`, `mean` and `std`, else from the
    checkpoint's metadata, else from the source: timm's data configuration, torchvision's transforms, Hugging Face's
    image processor (where there is none: the configuration's image size, or 224, with mean and std 0.5), the
    `pretrained_cfg` of a Python file's factory. A timm model of fixed size is built at `size`.

    A Python file's factory is called with two seeds: weights that differ are random and must be asked for, weights that
    agree were set by the factory.

    Args:
        spec: as `parse_spec` reads it, or its result.
        random_weights: seed of random weights, for a spec without `@FILE`; torch's own generator is left as it was.
        size: height and width in pixels; an int is both.
        mean: per channel, of pixels in [0, 1].
        std: per channel.

    Raises:
        ConfigError: for an unknown name, arguments that the architecture refuses, weights that can't be had or don't
            fit, or an input configuration with a part missing or out of range.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    if spec.others:
        raise ConfigError(f"{spec.label}: names {1 + len(spec.others)} files, an ensemble; one network is needed here")
    given = given_parts(size, mean, std)
    builder = _BUILDERS[spec.source]
    stored = read_checkpoint(spec.checkpoint) if spec.checkpoint else None
    arguments = {**stored.arguments, **spec.arguments} if stored else dict(spec.arguments)
    complete = dataclasses.replace(spec, arguments=dict(arguments))

    def build(seed: int, *, pretrained: bool = False) -> _Built:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs, too
            built = builder(spec.name, arguments, pretrained, given.get("size"))
        if stored and stored.blocks:
            change_blocks(built.model, stored.blocks, seed=seed)
            built = dataclasses.replace(built, architecture=f"{built.architecture} {changes_text(stored.blocks)}")
        return built

    if stored:
        built = build(0)
        head = "num_labels" if spec.source == "hf" else "num_classes"
        found = head_size(stored, built.model, built.num_classes, built.convert)
        if head not in spec.arguments and None not in (found, built.num_classes) and found != built.num_classes:
            arguments[head] = found
            built = build(0)
        fit(stored, built.model, built.convert)
        weights = f"checkpoint {stored.path.name}"
        epsilon = stored.layer_norm_eps
        if epsilon is not None:  # results depend on it, and no state holds it
            built = dataclasses.replace(built, architecture=f"{built.architecture} layer_norm_eps={epsilon}")
    elif spec.source == "file" and _equal_states(build(0).model, build(1).model):
        built, weights = build(0), "set by the factory"
    elif random_weights is not None:
        built, weights = build(random_weights), f"random, seed {random_weights}"
    else:
        built, weights = _pretrained(spec, build), "pretrained"
    evaluate(built.model)
    stored_parts = stored.input if stored else {}
    return LoadedModel(
        model=built.model,
        label=spec.label,
        spec=complete,
        weights=weights,
        architecture=built.architecture,
        input=input_config(spec.text, {**built.parts, **stored_parts, **given}),
        num_classes=built.num_classes,
        digest=state_digest(built.model, built.architecture),
        fraction=stored.fraction if stored else None,
    )


def list_models(pattern: str = "") -> tuple[str, ...]:
    """The names that timm has registered (ours among them) and torchvision's classification models, sorted within each.

    Args:
        pattern: with `*`, `?` or `[` it is matched against the whole name, otherwise looked for inside it.
    """
    names = [*timm.list_models(), *(f"torchvision:{name}" for name in _torchvision_names())]
    if any(sign in pattern for sign in "*?["):
        return tuple(name for name in names if fnmatch.fnmatchcase(name, pattern))
    return tuple(name for name in names if pattern in name)


def state_digest(model: nn.Module, architecture: str) -> str:
    """sha256 over an architecture's identity and the names, types, shapes and bytes of a model's state, in hex.

    Args:
        model: its `state_dict` is read, and what `identity.entries` finds beside it.
        architecture: as in `LoadedModel`.

    Raises:
        ConfigError: for weights on the meta device.
    """
    digest = hashlib.sha256(architecture.encode())
    for name, value in entries(model):
        if isinstance(value, Tensor):
            if value.is_meta:
                raise ConfigError(f"model: weights are on the meta device, such as {name!r}; load them first")
            digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"\n{name} {value!r}\n".encode())
    return digest.hexdigest()


def _pretrained(spec: ModelSpec, build: Callable[..., _Built]) -> _Built:
    reason = "the function returns random weights"
    if spec.source != "file":
        try:
            return build(0, pretrained=True)
        except ConfigError:
            raise
        except Exception as error:  # hub clients raise errors of many libraries
            build(0)  # raises the better error where the arguments are at fault
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
    name = dataclasses.replace(spec, checkpoint=None).text
    raise ConfigError(
        f"{name}: there are no pretrained weights to be had ({reason}); "
        f"name a file of weights, {name}@FILE, or ask for random ones with --random-weights SEED"
    )


def _equal_states(one: nn.Module, other: nn.Module) -> bool:
    return state_digest(one, "") == state_digest(other, "")


def _classes(model: nn.Module) -> int | None:
    classes = getattr(model, "num_classes", None)
    return classes if isinstance(classes, int) else None


def _name(source: str, name: str, arguments: Mapping[str, Any]) -> str:
    return ModelSpec(label="", source=source, name=name, arguments=dict(sorted(arguments.items()))).text


def _construct(name: str, arguments: Mapping[str, Any], build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except Exception as error:  # constructors raise whatever their arguments led to; the cause stays attached
        line = str(error).strip().partition("\n")[0]
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise ConfigError(f"{name} can't be built with {listed}: {type(error).__name__}: {line}") from error


def _build_timm(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> _Built:
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}.{nearest(name, timm.list_models())} All: visionscope models")
    tag = name.partition(".")[2]
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name.partition('.')[0]}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm has no weights {tag!r} for {name.partition('.')[0]}.{nearest(tag, tags)}")
    config = timm.get_pretrained_cfg(name)
    if size and config and config.fixed_input_size:
        arguments = {"img_size": size[0] if size[0] == size[1] else size, **arguments}
    if pretrained:
        if not (config and config.has_weights):
            raise _NoWeightsError(f"timm offers none for {name}")
        with cache_alone_when_offline():
            model = timm.create_model(name, pretrained=True, **arguments)
    else:
        model = _construct(name, arguments, lambda: timm.create_model(name, **arguments))
    parts = parts_of(resolve_model_data_config(model))  # type: ignore[no-untyped-call]
    if "img_size" in arguments:
        edge = arguments["img_size"]
        parts["size"] = (edge, edge) if isinstance(edge, int) else tuple(edge)
    architecture = _name("timm", name.partition(".")[0], arguments)
    return _Built(model=model, architecture=architecture, parts=parts, num_classes=_classes(model))


def _build_torchvision(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> _Built:
    if name not in _torchvision_names():
        raise ConfigError(f"torchvision has no classification model {name!r}.{nearest(name, _torchvision_names())}")
    if size and name.startswith("vit_"):
        arguments = {"image_size": size[0], **arguments}
    weights = torchvision.models.get_model_weights(name).DEFAULT
    if pretrained:
        model = torchvision.models.get_model(name, weights=weights, progress=False, **arguments)
    else:
        # These two warn unless they are told which initialisation to use; True is their documented one.
        initial = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        build = functools.partial(torchvision.models.get_model, name, weights=None, **{**initial, **arguments})
        model = _construct(f"torchvision:{name}", arguments, build)
    preset = weights.transforms()
    edge = arguments.get("image_size") or preset.crop_size[0]
    parts = {
        "size": (edge, edge),
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "interpolation": preset.interpolation.value,
        "crop": min(1.0, preset.crop_size[0] / preset.resize_size[0]),
    }
    classes = arguments.get("num_classes", len(weights.meta["categories"]))
    return _Built(model=model, architecture=_name("torchvision", name, arguments), parts=parts, num_classes=classes)


def _torchvision_names() -> list[str]:
    return list(torchvision.models.list_models(module=torchvision.models))


def _build_file(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> _Built:
    factory = open_factory(name)
    model = factory.build(arguments)
    # The code is the file's content; where it lies is no part of the identity.
    architecture = f"{_name('file', Path(name).name, arguments)} sha256:{factory.sha256}"
    return _Built(
        model=model,
        architecture=architecture,
        parts=factory.input_parts(model),
        num_classes=_classes(model),
    )


def _build_hf(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> _Built:
    try:
        import transformers
        from transformers.models.auto.image_processing_auto import get_image_processor_config
    except ImportError as error:
        raise ConfigError(f"hf:{name} needs the transformers package: pip install 'visionscope[hf]'") from error
    path = Path(name).expanduser()
    place = str(path) if path.exists() else name
    with cache_alone_when_offline():
        config = _hf_config(transformers, name, place)
        for key, value in arguments.items():
            if not hasattr(config, key):
                raise ConfigError(f"hf:{name}: the model has no argument {key!r}.{nearest(key, config.to_dict())}")
            setattr(config, key, value)
        if size and "image_size" not in arguments and hasattr(config, "image_size"):
            config.image_size = size[0] if size[0] == size[1] else list(size)
        auto: Any = transformers.AutoModelForImageClassification
        if pretrained:
            if path.is_file():
                raise _NoWeightsError("a configuration file comes without weights")
            with _without_bars(transformers.utils.logging):
                model = auto.from_pretrained(place, config=config, dtype=torch.float32, trust_remote_code=False)
        else:
            model = _construct(f"hf:{name}", arguments, lambda: auto.from_config(config, dtype=torch.float32))
        processor = get_image_processor_config(str(path.parent) if path.is_file() else place)
    parts = hub_parts(config, processor)
    if "image_size" in arguments:
        parts["size"] = hub_parts(config, {})["size"]
    described = {key: value for key, value in config.to_dict().items() if key not in _NAMES_IN_CONFIGS}
    identity = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
    return _Built(
        model=model,
        architecture=f"hf:{type(model).__name__} config sha256:{identity}",
        parts=parts,
        num_classes=int(config.num_labels),
        convert=_hf_names,
    )


def _hf_names(state: State, model: Any) -> State:
    """Files of Hugging Face models keep the names of older releases; only the library's own loading translates them."""
    import transformers

    with _without_bars(transformers.utils.logging):
        read, info = type(model).from_pretrained(
            None, config=model.config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
        )
    lost = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    found = {name: value for name, value in read.state_dict().items() if name not in lost}
    return {**found, **{name: state[name] for name in {*lost, *info["unexpected_keys"]} if name in state}}


def _hf_config(transformers: Any, name: str, place: str) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # hub clients raise errors of many libraries
        line = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"hf:{name}: its configuration can't be had ({line}); "
            "name a folder or a config.json that lies on this machine"
        ) from error
    config.architectures = config.architectures or []  # the library iterates over it where a family has several heads
    return config


@contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


_BUILDERS: dict[str, Callable[[str, dict[str, Any], bool, tuple[int, int] | None], _Built]] = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
    "hf": _build_hf,
    "file": _build_file,
}
