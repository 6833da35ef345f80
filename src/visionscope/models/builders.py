"""From the name of an architecture and its arguments to a network, by the source that it comes from."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.data.config import resolve_model_data_config
from torch import nn

from visionscope.core.files import user_path
from visionscope.core.printable import quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models import (  # noqa: F401  # registers them with timm
    alternet,
    cifar,
    convvit,
    nano,
    paper,
    pico,
    segmentation,
)
from visionscope.models.arguments import check_numbers, check_types, explained, listed
from visionscope.models.detectors import detects
from visionscope.models.factory import open_factory
from visionscope.models.fitting import Convert
from visionscope.models.hub import cache_alone_when_offline, check_config, first_line
from visionscope.models.hub_folders import check_folder
from visionscope.models.preprocessing import hub_parts, parts_of
from visionscope.models.spec import ModelSpec
from visionscope.models.structure import structure_digest
from visionscope.models.weight_files import State

# What a Hugging Face configuration says beyond the network itself.
_NAMES_IN_CONFIGS = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "transformers_version")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A network as its source made it.

    Attributes:
        model: the network.
        architecture: identity of code and arguments.
        parts: of its input configuration, as far as they are known.
        num_classes: size of its head, or None where it doesn't say.
        convert: maps a file's tensors to the network's, where the source has a way of its own.
    """

    model: nn.Module
    architecture: str
    parts: Mapping[str, Any]
    num_classes: int | None
    convert: Convert | None = None


class NoWeightsError(Exception):
    """The architecture is there, its pretrained weights are not."""


def _classes(model: nn.Module) -> int | None:
    classes = getattr(model, "num_classes", None)
    return classes if isinstance(classes, int) else None


def _name(source: str, name: str, arguments: Mapping[str, Any]) -> str:
    return ModelSpec(label="", source=source, name=name, arguments=dict(sorted(arguments.items()))).text


def _construct(
    name: str, arguments: Mapping[str, Any], build: Callable[..., nn.Module], given: Mapping[str, Any]
) -> nn.Module:
    """Builds a network; where that fails, says what its class would have taken.

    Args:
        name: for errors.
        arguments: of the spec.
        build: takes keyword arguments.
        given: all that it is called with.
    """
    check_numbers(name, arguments)
    if arguments:  # a network as its library has it was built by many
        _check_memory(name, listed(arguments), build, given)
    try:
        model = build(**given)
    except ConfigError:
        raise
    except Exception as error:  # constructors raise whatever their arguments led to; the cause stays attached
        raise explained(name, arguments, _class_of(build), error) from error
    check_types(name, type(model), arguments)
    return model


def _check_memory(name: str, asked: str, build: Callable[..., nn.Module], given: Mapping[str, Any]) -> None:
    """Refuses a network of more weights than the machine has memory, before any of it is taken."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = build(**given)
        needed = sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except Exception:  # it can't be built so, or at all, which building it tells
        return
    if needed > there:
        raise ConfigError(
            f"{name}: its weights would need {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f}; got "
            f"{asked}, take less"
        )


def _class_of(build: Callable[..., nn.Module]) -> type[nn.Module] | None:
    """The class of a network as it is without further arguments, or None where it can't be built so."""
    with suppress(Exception), torch.random.fork_rng(devices=[]), torch.device("meta"):
        return type(build())
    return None


def check_known(source: str, name: str) -> None:
    """Checks that a library has a model of that name; builds nothing.

    Args:
        source: of a model spec; what is not `timm` or `torchvision` has no list of names.
        name: of the model there.

    Raises:
        ConfigError: where it has none, with the nearest.
    """
    if source == "torchvision" and name not in (known := [*torchvision_names(), *_torchvision_others()]):
        raise ConfigError(f"torchvision has no image model {quoted(name)}.{nearest(name[:80], known)}")
    if source != "timm":
        return
    if not timm.is_model(name):
        raise ConfigError(
            f"timm has no model {quoted(name)}.{nearest(name[:80], timm.list_models())} `visionscope models` lists all."
        )
    tag = name.partition(".")[2]
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name.partition('.')[0]}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm has no weights {quoted(tag)} for {name.partition('.')[0]}.{nearest(tag[:80], tags)}")


def _build_timm(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> Built:
    check_known("timm", name)
    config = timm.get_pretrained_cfg(name)
    if size and config and config.fixed_input_size:
        arguments = {"img_size": size[0] if size[0] == size[1] else size, **arguments}
    if pretrained:
        if not (config and config.has_weights):
            raise NoWeightsError(f"timm offers none for {name}")
        if arguments.get("num_classes", 0) not in (0, config.num_classes):  # timm would leave the head random
            raise NoWeightsError(f"they tell {config.num_classes} classes apart, not {arguments['num_classes']}")
        with cache_alone_when_offline():
            model = timm.create_model(name, pretrained=True, **arguments)
    else:
        model = _construct(name, arguments, functools.partial(timm.create_model, name), arguments)
    parts = parts_of(resolve_model_data_config(model))  # type: ignore[no-untyped-call]
    parts["channels"] = arguments.get("in_chans", parts["channels"])
    if "img_size" in arguments:
        edge = arguments["img_size"]
        parts["size"] = (edge, edge) if isinstance(edge, int) else tuple(edge)
    architecture = _name("timm", name.partition(".")[0], arguments)
    return Built(model=model, architecture=architecture, parts=parts, num_classes=_classes(model))


def _build_torchvision(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> Built:
    check_known("torchvision", name)
    if size and name.startswith("vit_"):
        arguments = {"image_size": size[0], **arguments}
    weights = torchvision.models.get_model_weights(name).DEFAULT
    dense = name not in torchvision_names()
    if pretrained:
        model = torchvision.models.get_model(name, weights=weights, progress=False, **arguments)
    else:
        # These two warn unless they are told which initialisation to use; True is their documented one.
        initial: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        if dense:
            initial["weights_backbone"] = None  # they would be fetched
        build = functools.partial(torchvision.models.get_model, name, weights=None)
        model = _construct(f"torchvision:{name}", arguments, build, {**initial, **arguments})
    parts = _preset_parts(weights.transforms(), arguments.get("image_size"), model)
    classes = arguments.get("num_classes", len(weights.meta["categories"]))
    return Built(model=model, architecture=_name("torchvision", name, arguments), parts=parts, num_classes=classes)


def _preset_parts(preset: Any, edge: int | None, model: Any) -> dict[str, Any]:
    """How a torchvision network wants its images; of one that detects, how its backbone gets them from it."""
    if detects(model):
        inner = model.transform
        parts = {"mean": tuple(inner.image_mean), "std": tuple(inner.image_std), "interpolation": "bilinear"}
        return {**parts, "size": (inner.min_size[-1],) * 2}
    cropped = getattr(preset, "crop_size", preset.resize_size)[0]
    return {
        "size": (edge or cropped,) * 2,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "interpolation": preset.interpolation.value,
        "crop": min(1.0, cropped / preset.resize_size[0]),
    }


def _torchvision_others() -> list[str]:
    """The names of torchvision's networks that segment or detect."""
    modules = (torchvision.models.segmentation, torchvision.models.detection)
    return [name for module in modules for name in torchvision.models.list_models(module=module)]


def torchvision_names() -> list[str]:
    """The names of torchvision's classification models."""
    return list(torchvision.models.list_models(module=torchvision.models))


def _build_file(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> Built:
    factory = open_factory(name)
    model = factory.build(arguments)
    # The code is the files' content; where they lie is no part of the identity.
    code = f"{_name('file', Path(name).name, arguments)} {factory.identity}"
    architecture = f"{code} structure sha256:{structure_digest(model)}"
    return Built(
        model=model,
        architecture=architecture,
        parts=factory.input_parts(model),
        num_classes=_classes(model),
    )


def _build_hf(name: str, arguments: dict[str, Any], pretrained: bool, size: tuple[int, int] | None) -> Built:
    try:
        import transformers
        from transformers.models.auto.image_processing_auto import get_image_processor_config
    except ImportError as error:
        raise ConfigError(f"hf:{name} needs the transformers package: pip install 'visionscope[hf]'") from error
    path = user_path(f"model hf:{quoted(name)}", name)
    place = str(path) if path.exists() else name
    with cache_alone_when_offline(), _never_asking(transformers):
        config = _hf_config(transformers, name, place)
        for key, value in arguments.items():
            if not hasattr(config, key):
                raise ConfigError(f"hf:{name}: the model has no argument {key!r}.{nearest(key, config.to_dict())}")
            setattr(config, key, value)
        if size and "image_size" not in arguments and hasattr(config, "image_size"):
            sides = isinstance(config.image_size, list | tuple)  # some families take nothing else
            config.image_size = list(size) if sides or size[0] != size[1] else size[0]
        auto = _hf_class(transformers, config)
        build = functools.partial(auto.from_config, config, dtype=torch.float32, trust_remote_code=False)
        _check_memory(f"hf:{name}", "a config.json of it", build, {})
        if pretrained:
            if path.is_file():
                raise NoWeightsError("a configuration file comes without weights")
            with _quiet(transformers.utils.logging):
                model = _hf_pretrained(auto, name, place, config)
        else:
            model = _construct(f"hf:{name}", arguments, build, {})
        try:
            processor = get_image_processor_config(str(path.parent) if path.is_file() else place)
            parts = hub_parts(config, processor)
            told = hub_parts(config, {})["size"]
        except Exception as error:  # a file of anything
            raise ConfigError(f"hf:{name}: how it wants its images can't be read: {first_line(error)}") from error
    if "image_size" in arguments:
        parts["size"] = told
    described = {key: value for key, value in config.to_dict().items() if key not in _NAMES_IN_CONFIGS}
    identity = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()
    return Built(
        model=model,
        architecture=f"hf:{type(model).__name__} config sha256:{identity}",
        parts=parts,
        num_classes=int(config.num_labels),
        convert=_hf_names,
    )


def _hf_class(transformers: Any, config: Any) -> Any:
    """The library's classifiers, or its networks that answer per pixel or detect where a configuration is of one."""
    classifies = type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    others = {
        "ForSemanticSegmentation": transformers.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
        "ForObjectDetection": transformers.MODEL_FOR_OBJECT_DETECTION_MAPPING,
    }
    for ending, kinds in others.items():
        named = any(name.endswith(ending) for name in config.architectures)
        if type(config) in kinds and (named or not classifies):
            return getattr(transformers, f"AutoModel{ending}")
    return transformers.AutoModelForImageClassification


def _hf_pretrained(auto: Any, name: str, place: str, config: Any) -> nn.Module:
    """The network with its own weights, all of them: the library would draw at random what it does not find."""
    model, info = auto.from_pretrained(
        place,
        config=config,
        dtype=torch.float32,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    for key, found, wanted in sorted(info["mismatched_keys"]):
        shapes = f"{quoted(key)} has the shape {tuple(found)} in its weights and {tuple(wanted)} in the network"
        raise ConfigError(
            f"hf:{name}: {shapes} that its config.json describes, of {config.num_labels} classes; correct config.json "
            "(id2label names the classes), or take the weights that belong to it"
        )
    if info["missing_keys"]:
        first, *others = sorted(info["missing_keys"])
        more = f" and {len(others)} more" if others else ""
        raise ConfigError(
            f"hf:{name}: its weights lack {first}{more}, which would be random; take a model that was trained to "
            "classify images"
        )
    return model  # type: ignore[no-any-return]


def _hf_names(state: State, model: Any) -> State:
    """Files of Hugging Face models keep the names of older releases; only the library's own loading translates them."""
    import transformers

    with _quiet(transformers.utils.logging):
        read, info = type(model).from_pretrained(
            None, config=model.config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
        )
    lost = set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]}
    found = {name: value for name, value in read.state_dict().items() if name not in lost}
    return {**found, **{name: state[name] for name in {*lost, *info["unexpected_keys"]} if name in state}}


def _hf_config(transformers: Any, name: str, place: str) -> Any:
    try:
        check_folder(name, Path(place))
        content, _ = transformers.PretrainedConfig.get_config_dict(place)
        check_config(name, content)
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
    except ConfigError:
        raise
    except Exception as error:  # hub clients raise errors of many libraries
        raise ConfigError(
            f"hf:{name}: its configuration is not available ({first_line(error)}); "
            "name a folder or a config.json that lies on this machine"
        ) from error
    config.architectures = config.architectures or []  # the library iterates over it where a family has several heads
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # a part's weights would be fetched, only to be overwritten
    return config


@contextmanager
def _never_asking(transformers: Any) -> Iterator[None]:
    """Inside, the library refuses code of others where it would else ask on the terminal whether to run it."""
    module = transformers.dynamic_module_utils
    before = module.TIME_OUT_REMOTE_CODE
    module.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        module.TIME_OUT_REMOTE_CODE = before


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """No progress bars and no report of names that did not fit: what matters of it is said as an error."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


# By source: from a name, arguments, whether pretrained weights are wanted, and a size, to a network.
BUILDERS: dict[str, Callable[[str, dict[str, Any], bool, tuple[int, int] | None], Built]] = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
    "hf": _build_hf,
    "file": _build_file,
}
