"""YAML files and command-line flags become a study: the same keys, the same rules, one line for whatever is wrong."""

import argparse
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.core.documents import document_text, read_document
from visionscope.core.files import user_path
from visionscope.core.registry import check_known, diagnostic_class, diagnostic_names
from visionscope.core.rules import values_of
from visionscope.core.terminal import tell
from visionscope.core.values import Value, shown
from visionscope.errors import ConfigError, nearest
from visionscope.models.snapshots import name_snapshots
from visionscope.running.study import DEFAULT_DIAGNOSTICS, ONLY, Study, check_named

_OWN = ("models", "data", "only", *(name for name in values_of(Study) if name not in ("models", "data", "diagnostics")))
_REQUIRED = ("models", "data")


@dataclasses.dataclass(frozen=True)
class _Named:
    """Stands for a diagnostic until everything else is checked: diagnostics import torch."""

    name: str


def study_from_flags(parsed: argparse.Namespace) -> Study:
    """The study that parsed flags of `flags.add_study_flags` describe.

    Args:
        parsed: what the parser returned.

    Raises:
        ConfigError: for a value that breaks its rule, or a flag of a diagnostic that isn't asked for.
    """
    own = {name: value for name, value in vars(parsed).items() if value is not None and name in _OWN}
    return _study(own, _dotted(parsed), from_flags=True)


def fields_from_flags(parsed: argparse.Namespace, names: Sequence[str], *, by: str) -> dict[str, dict[str, Any]]:
    """The values of `--DIAGNOSTIC.FIELD`, by diagnostic and field.

    Args:
        parsed: what the parser returned.
        names: of the diagnostics that are asked for.
        by: the flag that names them, for the error.

    Raises:
        ConfigError: for a value that breaks its rule, or a flag of a diagnostic that isn't asked for.
    """
    given = _dotted(parsed)
    _check_selected(given, names, by=by)
    return {name: _checked_fields(name, own, from_flags=True) for name, own in given.items()}


def study_from_file(path: Path | str, **changes: Any) -> Study:
    """The study in a YAML file.

    Args:
        path: the file.
        **changes: values that replace the file's, by key; None leaves the file's.

    Raises:
        ConfigError: when the file can't be read, has an unknown key, or a value that breaks its rule.
    """
    file = user_path("study", str(path))
    if file.is_dir():
        inside = f"; name the file in it, {path}/study.yaml" if (file / "study.yaml").is_file() else ""
        raise ConfigError(f"study: {path} is a folder{inside}")
    values = read_document("study", file)
    return study_from({**values, **{name: value for name, value in changes.items() if value is not None}})


def study_from(values: Mapping[str, Any]) -> Study:
    """The study that plain values describe, as a YAML file holds them.

    Args:
        values: by key: the attributes of `Study`, `only` and one mapping of fields per diagnostic.

    Raises:
        ConfigError: for an unknown or missing key, or a value that breaks its rule.
    """
    keys = (*_OWN, *diagnostic_names())
    for name in values:
        if name not in keys:
            raise ConfigError(f"study: there is no key {shown(name)}.{nearest(str(name)[:80], keys)}")
    own = {name: value for name, value in values.items() if name in _OWN}
    return _study(own, {name: value for name, value in values.items() if name not in _OWN})


def diagnostic_of(name: str, fields: Mapping[str, Any] | None, *, from_flags: bool = False) -> Any:
    """A diagnostic with its parameters checked.

    Args:
        name: as the registry lists it.
        fields: values of its fields; the others keep their defaults.
        from_flags: whether the values are the texts of flags.

    Raises:
        ConfigError: for an unknown diagnostic or field, or a value that breaks its rule.
    """
    chosen = diagnostic_class(name)
    checked = _checked_fields(name, fields, from_flags=from_flags)
    try:
        return chosen(**checked)
    except (TypeError, ValueError) as error:  # another package's diagnostic may check in its own way
        raise ConfigError(f"{name}: {error}") from error


def _dotted(parsed: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The texts of `--DIAGNOSTIC.FIELD`, by diagnostic and field."""
    fields: dict[str, dict[str, str]] = {}
    for name, value in vars(parsed).items():
        diagnostic, dot, field = name.partition(".")
        if value is not None and dot:
            fields.setdefault(diagnostic, {})[field] = value
    return fields


def _check_selected(fields: Mapping[str, Any], names: Sequence[str], *, by: str) -> None:
    """Refuses fields of a diagnostic that isn't among those that `by`, a flag or a key, names."""
    dashes = "--" if by.startswith("--") else ""
    for name, own in fields.items():
        if name not in names:
            field = f".{next(iter(own))}" if isinstance(own, Mapping) and own else ""
            raise ConfigError(f"{dashes}{name}{field}: {name} is not selected; add it to {by}")


def _checked_fields(name: str, fields: Mapping[str, Any] | None, *, from_flags: bool) -> dict[str, Any]:
    known = values_of(diagnostic_class(name))
    if fields is not None and not isinstance(fields, Mapping):
        example = next(iter(known), "field")
        raise ConfigError(f"{name}: must hold fields such as '{example}: value'; got {shown(fields)}")
    checked = {}
    for field, given in (fields or {}).items():
        if field not in known:
            raise ConfigError(f"{name}.{field}: {name} has no such field.{nearest(str(field)[:80], known)}")
        take = known[field].read if from_flags else known[field].checked
        checked[field] = take(f"{name}.{field}", given)
    return checked


def study_text(study: Study) -> str:
    """The study as YAML, every value written out; `study_from_file` reads it back as an equal study."""
    head = "# What was asked; `visionscope run` with this file goes on where it stopped.\n"
    return head + document_text(study.plain())


def command_of(path: Path) -> str:
    """The `visionscope diagnose` command that asks what a study's file does; flags for what is not the default.

    Neither the models nor the images need be there any more.

    Args:
        path: of a file that `study_text` wrote.

    Raises:
        ConfigError: when the file can't be read, or holds what no flag can say.
    """
    values = read_document("study", path)
    only = ONLY.checked("only", values.get("only", DEFAULT_DIAGNOSTICS))
    words = ["visionscope", "diagnose", *values_of(Study)["models"].checked("models", values.get("models"))]
    described = [("", values_of(Study), {name: values[name] for name in _OWN[1:] if name in values})]
    described += [(f"{name}.", values_of(diagnostic_class(name)), values.get(name) or {}) for name in only]
    for prefix, known, given in described:
        for name, value in given.items():
            if not prefix and name == "only":
                words += [] if only == DEFAULT_DIAGNOSTICS else ["--only", ",".join(only)]
            elif name not in known:
                raise ConfigError(f"{prefix}{name}: there is no such flag")
            else:
                flag = f"--{prefix}{name}" if prefix else f"--{name.replace('_', '-')}"
                words += _flag_words(flag, known[name], known[name].checked(flag, value), many=not prefix)
    return shlex.join(words)


def _flag_words(flag: str, value: Value, given: Any, *, many: bool) -> list[str]:
    """A flag and what follows it, one word or a word for each number of a study's list; nothing for the default."""
    if given == value.default:
        return []
    items = [str(one).lower() if isinstance(one, bool) else str(one) for one in (given if value.is_list else [given])]
    if given is None or (value.is_list and value.kind is str and any("," in one for one in items)):
        raise ConfigError(f"{flag}: no flag says {shown(given)}")
    if value.is_list and many and value.kind is not str:
        return [flag, *items]
    return [f"{flag}={','.join(items)}"] if items[:1] and items[0].startswith("-") else [flag, ",".join(items)]


def _study(own: dict[str, Any], fields: Mapping[str, Any], *, from_flags: bool = False) -> Study:
    own = _with_snapshots(own)
    for name in _REQUIRED:
        if name not in own:
            raise ConfigError(f"{name}: must be given" + (", such as --data photos/" if name == "data" else ""))
    names = _only(own.pop("only", DEFAULT_DIAGNOSTICS))
    _check_selected(fields, names, by="--only" if from_flags else "only")
    if isinstance(own.get("output"), int) and not isinstance(own["output"], bool):
        own["output"] = str(own["output"])  # an index, which flags have as text
    study = Study(diagnostics=tuple(map(_Named, names)), **own)
    check_named(study)
    diagnostics = tuple(diagnostic_of(name, fields.get(name), from_flags=from_flags) for name in names)
    return dataclasses.replace(study, diagnostics=diagnostics)


def _with_snapshots(own: dict[str, Any]) -> dict[str, Any]:
    """The same values with bare files of weights written out as specs, and the data that these were trained on."""
    given = own.get("models")
    models = [given] if isinstance(given, str) else given
    if not isinstance(models, (list, tuple)) or not all(isinstance(one, str) for one in models):
        return own  # for the rule of models to refuse
    named = name_snapshots(models)
    if named.models == tuple(models):
        return own
    for line in named.notes:
        tell(f"visionscope: note: {line}")
    data = named.data if "data" not in own else ""
    if data:
        tell(f"visionscope: note: --data {shlex.quote(data)}, which these were trained on")
    return {**own, "models": named.models, **({"data": data} if data else {})}


def _only(given: Any) -> tuple[str, ...]:
    chosen: tuple[str, ...] = ONLY.checked("only", given)
    known = diagnostic_names()
    if chosen == ("all",):
        return known
    check_known("only", chosen, beside=() if len(chosen) > 1 else ("all",))
    return chosen
