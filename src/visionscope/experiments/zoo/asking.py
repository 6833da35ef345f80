"""What is asked of a list of networks: studies that train nothing, several of them as one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.claims.networks import NetworkClaim, network_claim
from visionscope.claims.one_seed import LAST
from visionscope.core.documents import read_document
from visionscope.core.files import user_path
from visionscope.core.values import Value
from visionscope.data.specs import check_apart, find_data
from visionscope.experiments.experiment import Asked
from visionscope.experiments.plan import question_key
from visionscope.experiments.reading import asked_from, figures_from
from visionscope.experiments.zoo.listing import Listed

_OWN = ("title", "data", "figures", "claims")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooStudy:
    """A study of networks that are listed elsewhere.

    Attributes:
        title: in a few words.
        data: a data spec.
        asked: settings and diagnostics.
        figures: names of the paper's figures.
        claims: over networks.
    """

    title: str
    data: str
    asked: tuple[Asked, ...]
    figures: tuple[str, ...]
    claims: tuple[NetworkClaim, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zoo:
    """All that is asked of a list of networks.

    Attributes:
        title: of the page.
        networks: as they are listed.
        data: a data spec.
        asked: each with settings of its own.
        figures: names of the paper's figures.
        claims: over networks.
        out: run folder.
    """

    title: str
    networks: tuple[Listed, ...]
    data: str
    asked: tuple[Asked, ...]
    figures: tuple[str, ...]
    claims: tuple[NetworkClaim, ...]
    out: str

    @property
    def questions(self) -> tuple[tuple[str, str], ...]:
        """The name and the key of every question."""
        return tuple((one.name, question_key(one, part)) for part in self.asked for one in part.diagnostics)

    @property
    def values(self) -> dict[str, Any]:
        """All that as plain values."""
        parts = [
            {**part.settings, **{one.name: dataclasses.asdict(one) for one in part.diagnostics}} for part in self.asked
        ]
        told = {"title": self.title, "data": self.data, "networks": [one.text for one in self.networks], "asked": parts}
        told |= {"figures": list(self.figures), "claims": [one.name for one in self.claims]}
        plain: dict[str, Any] = json.loads(json.dumps(told))  # lists for tuples, as YAML has them
        return plain


def study_from_file(path: Path) -> ZooStudy:
    """The study in a YAML file: `title`, `data`, `only` with settings and fields of diagnostics, `figures`, `claims`.

    Args:
        path: the file.

    Raises:
        ConfigError: when the file can't be read, has an unknown key, or a value that breaks its rule.
    """
    values = read_document("study", path)
    (asked,) = asked_from({LAST: {name: value for name, value in values.items() if name not in _OWN}}, ())
    names = Value(tuple[str, ...]).checked("claims", values.get("claims", ()))
    return ZooStudy(
        title=str(values.get("title", "")),
        data=Value(str).checked("data", values.get("data", "imagenet")),
        asked=(asked,),
        figures=tuple(figures_from(values.get("figures", []))),
        claims=tuple(map(network_claim, names)),
    )


def zoo_of(studies: Sequence[ZooStudy], networks: Sequence[Listed], *, title: str, data: str | None, out: str) -> Zoo:
    """Several studies of the same networks as one; what shares its settings shares its passes over the images.

    Args:
        studies: one or more, on the same data.
        networks: that all of them are asked of.
        title: of the whole.
        data: data spec instead of the studies', or None.
        out: run folder.

    Raises:
        ConfigError: for a run folder among the images.
        DataError: for images that are not there.
    """
    spec = data or studies[0].data
    find_data(spec)
    check_apart(user_path("out", out), spec)
    groups: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {}
    for part in (part for study in studies for part in study.asked):
        known = groups.setdefault(json.dumps(part.settings, sort_keys=True), (part.settings, {}))[1]
        known.update({question_key(one, part): one for one in part.diagnostics})
    asked = [
        Asked(snapshot=LAST, settings=settings, diagnostics=tuple(questions.values()))
        for settings, questions in groups.values()
    ]
    return Zoo(
        title=title,
        networks=tuple(networks),
        data=spec,
        asked=tuple(asked),
        figures=tuple(dict.fromkeys(figure for study in studies for figure in study.figures)),
        claims=tuple({claim.name: claim for study in studies for claim in study.claims}.values()),
        out=out,
    )
