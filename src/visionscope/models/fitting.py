"""Which tensors of a file are which of a network: prefixes, other layouts, what is left out and what is missing."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from visionscope.core.finite import check_finite
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models import official
from visionscope.models.checkpoint import Checkpoint
from visionscope.models.weight_files import State, plain_name

Convert = Callable[[State, nn.Module], Any]

_AVERAGE = re.compile(r"(^|[._])(ema|swa|avg|averaged?|teacher|momentum|target|shadow)([._]|$)", re.IGNORECASE)
# Tensors of a training that lie beside those of the network under no prefix of their own.
_BESIDE = re.compile(r"^(n_averaged$|(\w+_)?(criterion|loss(es)?(_fn|_func|_function)?|metrics?)(\.|$))")
_COUNTER = re.compile(r"(^|\.)num_batches_tracked$")
_DEEPEST = 3  # parts of a prefix that is looked for without knowing the names behind it
_LISTED = 3
_LONGEST_SHOWN = 120  # characters of a name out of a file, with shapes
_FIRST = 3  # of the network's names that a prefix must stand before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """What of a file a network was given.

    Attributes:
        note: what a reader must know: the part that was taken where there are others, and what was left out; or "".
        layer_norm_eps: of its layer normalisations, where it is another than the architecture's own.
    """

    note: str
    layer_norm_eps: float | None


@dataclasses.dataclass(frozen=True)
class _Aligned:
    """The tensors under one prefix, by the network's names where they could be found.

    Attributes:
        prefix: that was taken off.
        state: by name.
        original: before names and layouts were converted.
        outside: names of the file that lie outside the prefix, and those of a training beside the network's.
        lacking: names of the network that are not there.
    """

    prefix: str
    state: State
    original: State
    outside: tuple[str, ...]
    lacking: tuple[str, ...]


def head_size(
    checkpoint: Checkpoint, model: nn.Module, num_classes: int | None, convert: Convert | None = None
) -> int | None:
    """The size of the checkpoint's head: from its metadata, else from the shapes.

    The head's tensors are those that differ from the model's in their first axis alone, where the model's length is
    `num_classes`; None where there are none such or they disagree.

    Args:
        checkpoint: the weights.
        model: the network with a head of `num_classes`.
        num_classes: the size of the model's head, or None where it is unknown.
        convert: as for `fit`.
    """
    if checkpoint.num_classes is not None:
        return checkpoint.num_classes
    state = _aligned(checkpoint, model, convert)[0].state
    sizes = set()
    for name, wanted in model.state_dict().items():
        given = state.get(name)
        if given is None or given.shape == wanted.shape or given.ndim != wanted.ndim or given.ndim == 0:
            continue
        if wanted.shape[0] == num_classes and given.shape[1:] == wanted.shape[1:]:
            sizes.add(given.shape[0])
    return sizes.pop() if len(sizes) == 1 else None


def fit(checkpoint: Checkpoint, model: nn.Module, convert: Convert | None = None) -> Fit:
    """Loads the checkpoint into the model; every name and every shape of the model must be there.

    Names may have a prefix (`module.`, `model.`, `net.`, `student.`, ...), one under which everything of the model
    lies. What lies outside of it - the tensors of a loss, say - is left out and told. Where several prefixes fit, raw
    weights are taken before averages.

    Where names don't agree, the weights are converted first, by default from the layouts of the official code
    (`official.translate`), then with the model family's own `checkpoint_filter_fn`, as timm does with the weights that
    it downloads: it renames the layers of the original publication and resamples position embeddings.

    Args:
        checkpoint: the weights.
        model: is changed in place.
        convert: maps tensors under other names to the model's.

    Raises:
        ConfigError: listing the missing, unexpected and mis-shaped names, the first few of each, and what to change; or
            where several parts of the file fit alike.
    """
    found, rivals = _aligned(checkpoint, model, convert)
    wanted = model.state_dict()
    shapes = {
        name: (tuple(found.state[name].shape), tuple(own.shape)) for name, own in wanted.items() if name in found.state
    }
    wrong = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    _check_kinds(checkpoint, found.state, model)
    # torch itself reads the names of older forms (weight_norm), and starts counters that old files don't have.
    result = model.load_state_dict({name: value for name, value in found.state.items() if name not in wrong}, False)
    missing = [name for name in result.missing_keys if name not in wrong]
    problems = [
        ("missing", missing),
        ("unexpected", result.unexpected_keys),
        ("mis-shaped", [f"{name} {given} instead of {own}" for name, (given, own) in wrong.items()]),
    ]
    if any(names for _, names in problems):
        where = f" with the prefix {found.prefix!r} taken off" if found.prefix else ""
        listed = "; ".join(_some(word, names) for word, names in problems if names)
        advice = _advice(checkpoint, found, missing, wrong, wanted)
        raise ConfigError(f"checkpoint {checkpoint.path} does not fit the model{where}: {listed}{advice}")
    check_finite(model, f"checkpoint {checkpoint.path}")
    epsilon = checkpoint.layer_norm_eps
    epsilon = official.layer_norm_eps(found.original) if epsilon is None else epsilon
    official.settle(model, epsilon)
    return Fit(note=_note(checkpoint, found, rivals), layer_norm_eps=epsilon)


def _check_kinds(checkpoint: Checkpoint, state: State, model: nn.Module) -> None:
    """Refuses numbers that would become others in the network's type: integers of quantised weights, complex ones."""
    parameters = dict(model.named_parameters())
    for name, own in model.state_dict().items():
        given = state.get(name)
        if given is None or not own.is_floating_point():
            continue
        if given.is_complex() or (name in parameters and not given.is_floating_point()):
            kind, wanted = (str(one.dtype).removeprefix("torch.") for one in (given, own))
            raise ConfigError(
                f"checkpoint {checkpoint.path} does not fit the model: {quoted(name)} holds {kind} numbers instead of "
                f"{wanted}; save the weights as they were before quantisation"
            )


def _aligned(checkpoint: Checkpoint, model: nn.Module, convert: Convert | None) -> tuple[_Aligned, tuple[str, ...]]:
    """The tensors under the best prefix, and the other prefixes under which all of the network lies, too."""
    whole = _under("", checkpoint.state, model, convert)
    prefixes = _named_prefixes(checkpoint.state, model)
    if not whole.lacking:
        beside = [prefix for prefix in prefixes if not _under(prefix, checkpoint.state, model, None).lacking]
        return _alone(whole, beside)
    tried = [_under(prefix, checkpoint.state, model, convert) for prefix in prefixes]
    if all(one.lacking for one in tried):
        further = [prefix for prefix in _large_prefixes(checkpoint.state) if prefix not in prefixes]
        tried += [_under(prefix, checkpoint.state, model, convert) for prefix in further]
    complete = [one for one in tried if not one.lacking]
    if not complete:
        return min([whole, *tried], key=lambda one: len(one.lacking)), ()
    raw = [one for one in complete if not _AVERAGE.search(one.prefix)] or complete
    if len(raw) > 1:
        names = ", ".join(f"{checkpoint.path.name}#{_shown(one.prefix.rstrip('.'))}" for one in raw[:_FIRST])
        raise ConfigError(f"checkpoint {checkpoint.path}: it holds several networks that fit; choose one: {names}")
    return raw[0], tuple(one.prefix for one in complete if one is not raw[0])


def _alone(whole: _Aligned, rivals: list[str]) -> tuple[_Aligned, tuple[str, ...]]:
    """Names without a prefix that fit, without those of the further networks that lie beside them under prefixes."""
    others = [name for name in whole.state if name.startswith(tuple(rivals))]
    state = {name: value for name, value in whole.state.items() if name not in others}
    return dataclasses.replace(whole, state=state, outside=(*whole.outside, *others)), tuple(rivals)


def _under(prefix: str, state: State, model: nn.Module, convert: Convert | None) -> _Aligned:
    wanted = model.state_dict()
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    # A network may be compiled in part itself.
    own = {plain_name(name): name for name in wanted}
    named = {own.get(name, name): value for name, value in given.items()}
    beside = [name for name in named if name not in wanted and _BESIDE.search(name)]
    core = {name: value for name, value in named.items() if name not in beside}
    converted = _converted(core, model, convert)
    lacking = tuple(name for name in wanted if name not in converted and not _COUNTER.search(name))
    lacking = tuple(name for name in lacking if not _older_form(name, converted))
    outside = (*(name for name in state if not name.startswith(prefix)), *(prefix + name for name in beside))
    return _Aligned(prefix, converted, core, outside, lacking)


def _older_form(name: str, state: State) -> bool:
    """Whether torch reads a name out of that of its older weight normalisation."""
    base, mark, place = name.rpartition(".parametrizations.weight.original")
    return bool(mark) and f"{base}.weight_{'g' if place == '0' else 'v'}" in state


def _named_prefixes(state: State, model: nn.Module) -> list[str]:
    """The prefixes with which the first names of the network stand in the file."""
    endings = [f".{plain_name(wanted)}" for wanted in list(model.state_dict())[:_FIRST]]
    found = [{name[: 1 - len(end)]: None for name in state if name.endswith(end)} for end in endings]
    return [prefix for prefix in found[0] if all(prefix in other for other in found)] if found else []


def _large_prefixes(state: State) -> list[str]:
    """The prefixes that at least half of all names have."""
    found: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for depth in range(1, min(_DEEPEST, len(parts) - 1) + 1):
            prefix = ".".join(parts[:depth]) + "."
            found[prefix] = found.get(prefix, 0) + 1
    return [prefix for prefix, count in found.items() if 2 * count >= len(state)]


def _note(checkpoint: Checkpoint, found: _Aligned, rivals: tuple[str, ...]) -> str:
    parts = []
    place = ".".join(part for part in (checkpoint.part, found.prefix.rstrip(".")) if part)
    others = [*checkpoint.others, *(rival.rstrip(".") for rival in rivals)]
    left_out = [name for name in found.outside if not any(name.startswith(rival) for rival in rivals)]
    if others or _AVERAGE.search(place) or (found.prefix and left_out):
        parts.append(_shown(place))
    if others:
        parts.append(f"not {', '.join(map(_shown, others))}")
    if left_out:
        parts.append(f"without {_some('of its tensors', left_out)}")
    return ", ".join(parts)


def _advice(checkpoint: Checkpoint, found: _Aligned, missing: list[str], wrong: dict[str, Any], wanted: State) -> str:
    """What to change, in a sentence."""
    advice = []
    common = [name for name in wanted if name in found.state]
    if not common:
        theirs, ours = (", ".join(_beginnings(names)) for names in (checkpoint.state, wanted))
        advice.append(f"its names begin with {theirs}, the model's with {ours}: this is another architecture's file")
    if len({axis for pair in wrong.values() for axis in _differing(*pair)}) == 1 and not missing:
        given, own = next(iter(wrong.values()))
        if len(wrong) == 1 and len(given) == 4 and _differing(given, own) == [1]:
            advice.append(f"its images have {given[1]} channels: MODEL?in_chans={given[1]}")
        elif _differing(given, own) == [0] and len(wrong) <= 2:
            advice.append(f"its head has {given[0]} classes: MODEL?num_classes={given[0]}")
    if found.prefix and missing and common:
        advice.append(
            f"of the model's {len(wanted)} tensors {len(common)} have the prefix; the others must have it, too"
        )
    if checkpoint.others:
        advice.append("or take " + " or ".join(f"{checkpoint.path.name}#{key}" for key in checkpoint.others))
    return f"; {'; '.join(advice)}" if advice else ""


def _differing(given: tuple[int, ...], own: tuple[int, ...]) -> list[int]:
    """The axes in which two shapes differ; -1 for another number of axes."""
    return (
        [axis for axis, (one, other) in enumerate(zip(given, own, strict=True)) if one != other]
        if len(given) == len(own)
        else [-1]
    )


def _beginnings(names: Iterable[str]) -> list[str]:
    found = [_shown(name) for name in dict.fromkeys(name.partition(".")[0] for name in names)]
    return [*found[:_LISTED], "..."] if len(found) > _LISTED else found


def _some(word: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} {word}: {', '.join(map(_shown, names[:_LISTED]))}{more}"


def _shown(name: str) -> str:
    """A name out of a file as a message may hold it."""
    line = printable(name)
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."


def _converted(state: State, model: nn.Module, convert: Convert | None) -> State:
    function = convert
    if not _same(state, model) and convert is None:
        state = _translated(state)
        function = _family_filter(model)
    if function is None or _same(state, model):
        return state
    try:
        changed = function(dict(state), model)
    except Exception:  # made for one publication's names, it may fail in any way on others': compare them as they are
        return state
    return changed if isinstance(changed, dict) else state


def _translated(state: State) -> State:
    try:
        return official.translate(state)
    except Exception:  # names of an official file, but not all of them or of other shapes: compared as they are
        return state


def _same(state: State, model: nn.Module) -> bool:
    wanted = model.state_dict()
    return state.keys() == wanted.keys() and all(state[name].shape == wanted[name].shape for name in wanted)


def _family_filter(model: nn.Module) -> Convert | None:
    for kind in type(model).__mro__:
        function = _scope(kind).get("checkpoint_filter_fn")
        if function is not None:
            found: Convert = function
            return found
    return None


def _scope(kind: type) -> Mapping[str, Any]:
    """The names of the module that a class stands in; of one from a user's file `sys.modules` may know another."""
    functions = (inspect.unwrap(member) for member in vars(kind).values() if inspect.isfunction(member))
    own = next((one.__globals__ for one in functions if one.__module__ == kind.__module__), None)
    return vars(sys.modules.get(kind.__module__, sys)) if own is None else own
