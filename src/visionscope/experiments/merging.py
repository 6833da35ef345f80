"""Several experiments as one: trainings that they share are done once, and every variant is asked all at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visionscope.claims.one_seed import LAST
from visionscope.errors import ConfigError
from visionscope.experiments.experiment import Asked, Experiment, Variant
from visionscope.experiments.plan import question_key
from visionscope.training.terms import Terms

_Moment = tuple[str, str]  # the snapshot, and the settings as text


def merged(experiments: Sequence[Experiment], *, title: str, out: str) -> Experiment:
    """The union of experiments: of variants by name, of seeds, of questions per variant, of claims and figures.

    A variant is asked what the experiments that have it ask of it, and nothing else; it is trained to its end where one
    of them needs that.

    Args:
        experiments: one or more.
        title: of the whole.
        out: run folder.

    Raises:
        ConfigError: when a name stands for two trainings, or a claim for two meanings.
    """
    variants: dict[str, Variant] = {}
    asked: dict[str, dict[_Moment, dict[str, Any]]] = {}
    settings: dict[_Moment, Mapping[str, Any]] = {}
    claims: dict[str, Any] = {}
    for experiment in experiments:
        for variant in experiment.variants:
            variants[variant.name] = _joined(variants.get(variant.name), variant)
            own = asked.setdefault(variant.name, {})
            for part in _parts(experiment, variant):
                moment = (part.snapshot, json.dumps(part.settings, sort_keys=True))
                settings[moment] = part.settings
                own.setdefault(moment, {}).update({question_key(one, part): one for one in part.diagnostics})
        for name, claim in experiment.claims.items():
            if claims.setdefault(name, claim) != claim:
                raise ConfigError(f"claims: {name} says different things in the studies; rename one")
    both = Experiment(
        title=title,
        variants=tuple(variants.values()),
        asked=tuple(_grouped(asked, settings)),
        claims=claims,
        out=out,
        slurm=next((one.slurm for one in experiments if one.slurm), {}),
        values={},
        figures=tuple(dict.fromkeys(figure for one in experiments for figure in one.figures)),
    )
    return dataclasses.replace(both, values=_written(both))


def _written(experiment: Experiment) -> dict[str, Any]:
    """An experiment as a YAML file has it."""
    variants = {
        one.name: {
            **{key: getattr(one, key) for key in ("model", "data", "recipe", "fraction", "same")},
            **({} if one.task == Terms.task else {"task": one.task}),
            **({"validation": one.validation} if one.validation else {}),
            **one.changes,
            "seeds": list(one.seeds),
        }
        for one in experiment.variants
    }
    diagnose: dict[str, list[dict[str, Any]]] = {}
    for part in experiment.asked:
        questions = {one.name: dataclasses.asdict(one) for one in part.diagnostics}
        own = {"only": list(questions), "variants": list(part.variants or ()), **part.settings, **questions}
        diagnose.setdefault(part.snapshot, []).append(own)
    values = {"title": experiment.title, "train": {"variants": variants}, "diagnose": diagnose}
    values |= {"figures": list(experiment.figures)}
    if all(own is None for own in experiment.claims.values()):
        values |= {"claims": list(experiment.claims)}
    else:
        values |= {"claims": dict(experiment.claims)}
    if experiment.slurm:
        values |= {"slurm": dict(experiment.slurm)}
    plain: dict[str, Any] = json.loads(json.dumps(values))  # lists for tuples, as YAML has them
    return plain


def _joined(known: Variant | None, new: Variant) -> Variant:
    if known is None:
        return new
    if dataclasses.replace(known, seeds=new.seeds) != new:
        raise ConfigError(f"variants: {new.name} is trained in two ways in the studies; rename one")
    return dataclasses.replace(new, seeds=tuple(dict.fromkeys((*known.seeds, *new.seeds))))


def _parts(experiment: Experiment, variant: Variant) -> Iterable[Asked]:
    yield from experiment.asked_of(variant.name)
    if not experiment.until(variant):
        yield Asked(snapshot=LAST, settings={}, diagnostics=())


def _grouped(
    asked: Mapping[str, Mapping[_Moment, Mapping[str, Any]]], settings: Mapping[_Moment, Mapping[str, Any]]
) -> Iterable[Asked]:
    """What is asked of each variant at each moment, with the variants that are asked the same put together."""
    groups: dict[tuple[_Moment, tuple[str, ...]], tuple[list[str], tuple[Any, ...]]] = {}
    for variant, moments in asked.items():
        for moment, questions in moments.items():
            keys = tuple(sorted(questions))
            groups.setdefault((moment, keys), ([], tuple(questions[key] for key in keys)))[0].append(variant)
    for (moment, _), (variants, diagnostics) in groups.items():
        yield Asked(snapshot=moment[0], settings=settings[moment], diagnostics=diagnostics, variants=tuple(variants))
