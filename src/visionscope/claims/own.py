"""Claims as a study's YAML has them: one of the paper's about the study's own variants, or one of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

from visionscope.claims.claim import EXPLORATORY, PRIMARY, Claim
from visionscope.claims.one_seed import LAST, MissingError, OneSeed, snapshot_named
from visionscope.claims.registry import claim, paper_claims
from visionscope.claims.scores import SCORES, TRAINED
from visionscope.core.registry import diagnostic_names
from visionscope.core.rules import check_rules, rule
from visionscope.core.values import shown
from visionscope.errors import ConfigError, nearest

HIGHER, LOWER = "higher", "lower"
_ROLES = "roles"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Written:
    """What the YAML of a claim may say."""

    text: str = rule(empty=False)
    compare: tuple[str, str]
    than: tuple[str, ...] = rule((), count=(0, 2), words="two variants, such as [other_vit, other_resnet]")
    measure: str = rule(pattern=r"[^:]+:.*\S.*", words="DIAGNOSTIC: MEASURE, such as 'hessian: NEP'")
    snapshot: str = LAST
    direction: Literal["higher", "lower"]
    smallest: float = rule(above=0)
    family: str = rule(EXPLORATORY, pattern=r"[A-Za-z][A-Za-z0-9_-]{0,39}", words="a name, such as best_four")


def claim_in(study: str, mapping: Any, variants: Collection[str]) -> Claim:
    """A claim of a study: the paper's by its name, perhaps with roles, or a claim of its own.

    Args:
        study: the claim's name there.
        mapping: what the study says of it; None for the paper's as it is, `{roles: {ITS_NAME: NAME_IN_THE_STUDY}}` for
            the paper's about variants of other names, else what `claim_from` takes.
        variants: of the study.

    Raises:
        ConfigError: for a claim that there is not, or a key or a value that breaks its rule.
    """
    if mapping is None:
        return claim(study)
    if not isinstance(mapping, Mapping) or set(mapping) != {_ROLES}:
        return claim_from(study, mapping, variants)
    one, owner, roles = claim(study), f"claims.{study}.{_ROLES}", mapping[_ROLES]
    if not isinstance(roles, Mapping) or not roles:
        raise ConfigError(
            f"{owner}: must say which variant stands for which, such as {{vit: my_vit}}; got {shown(roles)}"
        )
    for role, variant in roles.items():
        if role not in one.variants:
            raise ConfigError(f"{owner}: the claim has no variant {shown(role)}.{nearest(str(role), one.variants)}")
        if variant not in variants:
            raise ConfigError(f"{owner}.{role}: there is no variant {shown(variant)}.{nearest(str(variant), variants)}")
    found = one.with_roles(roles)
    if len(set(found.variants)) < len(found.variants):
        raise ConfigError(f"{owner}: each variant must stand for one; got {', '.join(found.variants)}")
    return found


def claim_from(name: str, mapping: Mapping[str, Any], variants: Collection[str] = ()) -> Claim:
    """A claim that one measure of a variant is higher, or lower, than that of another.

    Its number is the measure of the first less that of the second, per seed, from the table of measures. With `than`,
    two more variants, it says that the first pair differs by more, or less, than the second: its number is then
    100 (a / b - c / d) with a, b the measures of `compare` and c, d those of `than`, a difference of relative
    differences in per cent, since a measure of different tasks has different sizes. It belongs to
    the family that it names, else it is exploratory; its number in the list is 0.

    Args:
        name: of the claim in the study.
        mapping: `text`, `compare` (two variants), perhaps `than` (two more), `measure` (`DIAGNOSTIC: MEASURE`, as the
            page shows it, or a score of all test images, such as `training: accuracy` or `training: NLL`), `snapshot`
            (default last), `direction` (higher or lower), `smallest`, the smallest effect of interest, and perhaps
            `family`, a name that it shares with other claims of the study, over which Holm's rule raises p.
        variants: of the study; if given, both must be among them.

    Raises:
        ConfigError: for a key or a value that breaks its rule, naming the nearest choice.
    """
    if name in {one.name for one in paper_claims()}:
        raise ConfigError(f"claims: {name!r} is the name of one of the paper's claims; choose another")
    owner = f"claims.{name}"
    written = _read(owner, mapping)
    _check_pairs(owner, written, variants)
    if written.family == PRIMARY:
        raise ConfigError(f"{owner}.family: {PRIMARY!r} is that of the paper's claims; choose another name")
    diagnostic, _, measure = (part.strip() for part in written.measure.partition(":"))
    if diagnostic not in (*diagnostic_names(), TRAINED):
        hint = nearest(diagnostic, diagnostic_names())
        raise ConfigError(f"{owner}.measure: there is no diagnostic {diagnostic!r}.{hint}")
    snapshot = snapshot_named(f"{owner}.snapshot", written.snapshot)
    if diagnostic == TRAINED:
        _check_score(owner, measure, snapshot)

    def number(one: OneSeed) -> float:
        values = [_value(one, name, snapshot, diagnostic, measure) for name in (*written.compare, *written.than)]
        if not written.than:
            return values[0] - values[1]
        for name, value in ((written.compare[1], values[1]), (written.than[1], values[3])):
            if not value:
                raise MissingError(f"{name}: its {measure} is 0, so nothing is relative to it")
        return 100 * (values[0] / values[1] - values[2] / values[3])

    return Claim(
        name=name,
        number=0,
        family=written.family,
        text=written.text,
        source="",
        figure="",
        variants=(*written.compare, *written.than),
        diagnostics=() if diagnostic == TRAINED else (diagnostic,),
        snapshot=snapshot,
        number_of=number,
        meaning=_meaning(written, f"{measure} ({diagnostic})"),
        unit="percentage points" if written.than else "",
        direction=1 if written.direction == HIGHER else -1,
        smallest=written.smallest,
        reason="",
        measure=f"{diagnostic}: {measure}",
    )


def _check_pairs(owner: str, written: _Written, variants: Collection[str]) -> None:
    """Both pairs must be two variants of the study, where that is known."""
    if written.than and len(written.than) != 2:
        raise ConfigError(f"{owner}.than: must be two variants, as compare is; got {', '.join(written.than)}")
    for variant in (*written.compare, *written.than):
        if variants and variant not in variants:
            key = "compare" if variant in written.compare else "than"
            raise ConfigError(f"{owner}.{key}: there is no variant {variant!r}.{nearest(variant, variants)}")
    for key, pair in (("compare", written.compare), ("than", written.than)):
        if len(set(pair)) < len(pair):
            raise ConfigError(f"{owner}.{key}: must be two different variants; got {pair[0]!r} twice")
    if written.than == written.compare:
        raise ConfigError(f"{owner}.than: must be another pair than compare; got {', '.join(written.than)} in both")


def _meaning(written: _Written, measure: str) -> str:
    first, second = written.compare
    if not written.than:
        return f"{measure} of {first} less that of {second}"
    return f"{measure} of {first} relative to {second}, less that of {written.than[0]} relative to {written.than[1]}"


def _check_score(owner: str, measure: str, snapshot: str) -> None:
    """Networks are scored at the end of their training alone, in a few ways that are known before."""
    names = [score.measure for score in SCORES]
    if measure not in names:
        raise ConfigError(f"{owner}.measure: {TRAINED} has no measure {shown(measure)}.{nearest(measure, names)}")
    if snapshot != LAST:
        raise ConfigError(f"{owner}.snapshot: a {TRAINED} is scored at {LAST} alone; got {shown(snapshot)}")


def _read(owner: str, mapping: Any) -> _Written:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{owner}: must have the keys text, compare, measure, direction; got {shown(mapping)}")
    names = {field.name: field for field in dataclasses.fields(_Written)}
    for key in mapping:
        if key not in names:
            raise ConfigError(f"{owner}: there is no key {shown(key)}.{nearest(str(key), names)}")
    for key, field in names.items():
        if field.default is dataclasses.MISSING and key not in mapping:
            raise ConfigError(f"{owner}.{key}: is missing")
    written = _Written(**mapping)
    check_rules(written, owner)
    return written


def _value(one: OneSeed, variant: str, snapshot: str, diagnostic: str, measure: str) -> float:
    rows = one.rows("measures", variant, snapshot, diagnostic=diagnostic)
    known = rows["measure"].astype(str).unique().tolist()
    if measure not in known:
        raise MissingError(f"{variant}: {diagnostic} has no measure {measure!r}.{nearest(measure, known)}")
    return one.number("measures", "value", variant, snapshot, diagnostic=diagnostic, measure=measure)
