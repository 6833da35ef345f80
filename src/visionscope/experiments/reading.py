"""From the keys and values of a YAML file to an experiment; whatever is wrong is told in one line before it starts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from visionscope.claims.one_seed import snapshot_named
from visionscope.config import diagnostic_of
from visionscope.core.documents import read_document
from visionscope.core.files import user_path
from visionscope.core.registry import diagnostic_names
from visionscope.core.rules import SEEDS, values_of
from visionscope.core.values import Rule, Value, is_whole, shown
from visionscope.data.specs import check_apart, find_data, needs_both_splits
from visionscope.errors import ConfigError, nearest
from visionscope.experiments.catalogue import figure_named
from visionscope.experiments.experiment import Asked, Experiment, Variant
from visionscope.models.decoders import LINEAR, segmenter_spec
from visionscope.models.find import find_model
from visionscope.running.study import ONLY, Study
from visionscope.training.recipe import RECIPES, Recipe, choose_recipe
from visionscope.training.terms import SEGMENTATION, Terms

_KEYS = ("title", "data", "train", "diagnose", "claims", "figures", "out", "slurm")
_TERMS = ("task", "fraction", "same", "validation")
_RECIPE = tuple(name for name in values_of(Recipe) if name not in ("minutes", "compile"))
_COMMON = ("seeds", "data", "recipe", *_TERMS, *_RECIPE)
_SETTINGS = (
    *("images", "seed", "batch", "precision", "n_forward", "size", "mean", "std", "output", "output_is", "points"),
    *("augmentation", "label_smoothing", "weight_decay", "decays"),
)
_FIGURES = Value(tuple[str, ...], Rule(words="ids of the paper's figures, such as [1c, C.5]"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,59}")
_MOST_SEEDS = 1000


def experiment_from_file(path: Path | str, **changes: Any) -> Experiment:
    """The experiment in a YAML file.

    Args:
        path: the file.
        **changes: values that replace the file's, by key; None leaves the file's.

    Raises:
        ConfigError: when the file can't be read, has an unknown key, or a value that breaks its rule; for `data` where
            a part of the file names images of its own, which would stay.
    """
    values = read_document("study", user_path("study", str(path)))
    if changes.get("data") is not None:
        _check_no_own_data(values.get("train"))
    return experiment_from({**values, **{name: value for name, value in changes.items() if value is not None}})


def experiment_from(values: Mapping[str, Any]) -> Experiment:
    """The experiment that plain values describe, as a YAML file holds them.

    Args:
        values: `data`, `train` with `variants`, `diagnose` by snapshot, and perhaps `title`, `claims`, `figures`,
            `out`, `slurm`.

    Raises:
        ConfigError: for an unknown or missing key, or a value that breaks its rule.
        DataError: for images that are not there.
    """
    check_keys("study", values, _KEYS)
    train = _mapping("train", values.get("train"), "variants: {name: model}")
    out = values_of(Study)["out"].checked("out", values.get("out", "visionscope-run"))
    common = {"data": values["data"]} if "data" in values else {}
    check_keys("train", train, ("variants", *_COMMON))
    common |= {name: value for name, value in train.items() if name != "variants"}
    names = _mapping("train.variants", train.get("variants"), "small: resnet_nano")
    asked = tuple(asked_from(values.get("diagnose"), tuple(names)))
    epochs = tuple(int(one.snapshot.removeprefix("epoch-")) for one in asked if one.snapshot.startswith("epoch-"))
    variants = tuple(_variants(names, common, epochs))
    folder = user_path("out", out)
    for spec in dict.fromkeys(variant.data for variant in variants):
        if find_data(spec).split is not None:
            raise needs_both_splits(spec)
        check_apart(folder, spec)
    return Experiment(
        title=str(values.get("title", "")),
        variants=variants,
        asked=asked,
        claims=_claims(values.get("claims")),
        out=out,
        slurm=_mapping("slurm", values.get("slurm", {}), "timeout_min: 60"),
        values={name: value for name, value in values.items() if name != "out"},
        figures=tuple(figures_from(values.get("figures", []))),
    )


def _check_no_own_data(train: object) -> None:
    """Refuses to replace a study's images where some of its trainings have others, as two data sets side by side."""
    parts = {"train": train}
    if isinstance(train, Mapping) and isinstance(train.get("variants"), Mapping):
        parts |= {f"train.variants.{name}": own for name, own in train["variants"].items()}
    for owner, own in parts.items():
        if isinstance(own, Mapping) and "data" in own:
            raise ConfigError(f"data: {owner} names images of its own, {shown(own['data'])}; change them in the file")


def _variants(listed: Mapping[str, Any], common: Mapping[str, Any], epochs: tuple[int, ...]) -> Iterable[Variant]:
    if not listed:
        raise ConfigError("train.variants: must name one variant or more, such as 'small: resnet_nano'; got none")
    for name, value in listed.items():
        owner = f"train.variants.{name}"
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{owner}: a name must be letters, digits and _.+-, 60 at most; got {shown(name)}")
        own = {"model": value} if isinstance(value, str) else _mapping(owner, value, "model: resnet_nano")
        check_keys(owner, own, ("model", *_COMMON))
        yield _variant(name, owner, {**common, **own}, epochs)


def _variant(name: str, owner: str, given: Mapping[str, Any], epochs: tuple[int, ...]) -> Variant:
    for key in ("model", "data"):
        if key not in given:
            raise ConfigError(f"{owner}.{key}: must be given")
    model = str(Value(str).checked(f"{owner}.model", given["model"]))
    find_model(model).check_single()
    recipe = values_of(Terms)["recipe"].checked(f"{owner}.recipe", given.get("recipe", "laptop"))
    terms = {key: _checked(f"{owner}.{key}", values_of(Terms)[key], given[key]) for key in _TERMS if key in given}
    changes = {
        key: _checked(f"{owner}.{key}", values_of(Recipe)[key], given[key])
        for key in _RECIPE
        if given.get(key) is not None
    }
    if epochs:
        changes["snapshots"] = tuple(sorted({*changes.get("snapshots", RECIPES[recipe].snapshots), *epochs}))
    try:
        choose_recipe(recipe, changes)
    except ConfigError as error:
        raise ConfigError(f"{owner}: {error}") from None
    variant = Variant(
        name=name,
        model=segmenter_spec(model, LINEAR).text if terms.get("task") == SEGMENTATION else model,
        data=Value(str).checked(f"{owner}.data", given["data"]),
        recipe=recipe,
        changes=changes,
        fraction=terms.get("fraction", 1.0),
        same=terms.get("same", "epochs"),
        seeds=_seeds(f"{owner}.seeds", given.get("seeds", 1)),
        validation=terms.get("validation", 0.0),
        task=terms.get("task", Terms.task),
    )
    _ = variant.trained_by  # what its task refuses of the recipe is told now
    return variant


def _checked(parameter: str, value: Value, given: Any) -> Any:
    """A value as YAML has it; a ratio such as 1/16 is text there, as in a flag."""
    return (
        value.read(parameter, given) if value.rule.ratio and isinstance(given, str) else value.checked(parameter, given)
    )


def _seeds(parameter: str, given: object) -> tuple[int, ...]:
    rule = f"must be how many, 1 to {_MOST_SEEDS}, or a list of different seeds from 0 to {SEEDS - 1}"
    if is_whole(given) and 1 <= int(given) <= _MOST_SEEDS:  # type: ignore[call-overload]
        return tuple(range(int(given)))  # type: ignore[call-overload]
    if not isinstance(given, Sequence) or isinstance(given, str) or not 1 <= len(given) <= _MOST_SEEDS:
        raise ConfigError(f"{parameter}: {rule}; got {shown(given)}")
    for place, seed in enumerate(given):
        if not is_whole(seed) or not 0 <= seed < SEEDS:
            raise ConfigError(f"{parameter}: {rule}; got {shown(seed)} among them")
        if seed in given[:place]:
            raise ConfigError(f"{parameter}: {rule}; {shown(seed)} is given twice, name it once")
    return tuple(map(int, given))


def asked_from(given: object, variants: Sequence[str]) -> Iterable[Asked]:
    """What is asked at each moment.

    Args:
        given: by snapshot, diagnostics with settings, or a list of such.
        variants: names of those that there are.

    Raises:
        ConfigError: for an unknown key, or a value that breaks its rule.
    """
    listed = _mapping("diagnose", given, "last: {only: fourier}") if given is not None else {}
    parts = (
        (snapshot, part) for snapshot, value in listed.items() for part in (value if _is_several(value) else [value])
    )
    for snapshot, value in parts:
        owner = f"diagnose.{snapshot}"
        values = {"only": value} if isinstance(value, (str, list)) else _mapping(owner, value, "only: fourier")
        check_keys(owner, values, ("only", "variants", *_SETTINGS, *diagnostic_names()))
        if "only" not in values:
            raise ConfigError(f"{owner}.only: must name diagnostics, such as fourier")
        # An empty list asks nothing but that the training goes on to this moment.
        names = ONLY.checked(f"{owner}.only", values["only"]) if values["only"] != [] else ()
        for name in names:
            if name not in diagnostic_names():
                raise ConfigError(f"{owner}.only: there is no diagnostic {name!r}.{nearest(name, diagnostic_names())}")
        for name in values:
            if name in diagnostic_names() and name not in names:
                raise ConfigError(f"{owner}.{name}: {name} is not selected; add it to only")
        settings = {
            key: values_of(Study)[key].checked(f"{owner}.{key}", values[key]) for key in _SETTINGS if key in values
        }
        yield Asked(
            snapshot=snapshot_named("diagnose", snapshot),
            settings=settings,
            diagnostics=tuple(diagnostic_of(name, cast(Any, values.get(name))) for name in names),
            variants=_asked_variants(f"{owner}.variants", values["variants"], variants)
            if "variants" in values
            else None,
        )


def _is_several(value: object) -> bool:
    """Whether a snapshot has a list of parts, each for some variants, instead of one part."""
    return isinstance(value, list) and any(isinstance(part, Mapping) for part in value)


def _asked_variants(parameter: str, given: object, known: Sequence[str]) -> tuple[str, ...]:
    names = Value(tuple[str, ...], Rule(count=(1, _MOST_SEEDS), distinct=True)).checked(parameter, given)
    for name in names:
        if name not in known:
            raise ConfigError(f"{parameter}: there is no variant {shown(name)}.{nearest(name, known)}")
    return tuple(names)


def figures_from(given: object) -> Iterable[str]:
    """Names of the paper's figures; YAML takes an id such as 6 for a number.

    Args:
        given: a list of ids.

    Raises:
        ConfigError: for anything else.
    """
    listed = [str(one) if is_whole(one) else one for one in given] if isinstance(given, list) else given
    return (figure_named(name).name for name in _FIGURES.checked("figures", listed))


def _claims(given: object) -> Mapping[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return given
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"claims: must be names of claims, or claims by name; got {shown(given)}")
    return dict.fromkeys(names)


def _mapping(parameter: str, given: object, example: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{parameter}: must hold keys and values such as '{example}'; got {shown(given)}")
    return given


def check_keys(owner: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Checks that there is no other key than those that are known.

    Args:
        owner: of the keys, for the message.
        given: keys and values.
        known: keys that there are.

    Raises:
        ConfigError: for the first other one, with the nearest.
    """
    for name in given:
        if name not in known:
            raise ConfigError(f"{owner}: there is no key {shown(name)}.{nearest(str(name)[:80], known)}")


def with_seeds(experiment: Experiment, count: int) -> Experiment:
    """The experiment with the first seeds of each variant alone.

    Args:
        experiment: any.
        count: how many at most.
    """
    variants = tuple(dataclasses.replace(one, seeds=one.seeds[:count]) for one in experiment.variants)
    return dataclasses.replace(experiment, variants=variants)
