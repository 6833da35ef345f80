"""What could not be computed or shown, kept apart so that one failure costs its own section alone."""

import dataclasses
import itertools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.printable import message_of, printable
from visionscope.errors import VisionscopeError

T = TypeVar("T")
Given = TypeVar("Given")


@dataclasses.dataclass(frozen=True)
class Failure:
    """Something that could not be computed or shown.

    Attributes:
        label: the model; "" where it is not one model's.
        diagnostic: its name; "" for what concerns the whole page.
        part: its name; of what the page is made from the step: `table`, `summary`, `figure`, `sentences`, ...
        message: why, in one line.
        computing: whether it is a part, which the next run computes again.
    """

    label: str
    diagnostic: str
    part: str
    message: str
    computing: bool = True

    @property
    def text(self) -> str:
        """What failed, and why: 'figure of similarity of vit: KeyError: ...'."""
        owner = " of ".join(name for name in (self.diagnostic, self.label) if name)
        if self.computing:
            return f"{owner}, part {self.part}: {self.message}"
        return f"{self.part}{' of ' if owner else ''}{owner}: {self.message}"


class Failures:
    """Collects the failures of the steps that make a page.

    Attributes:
        all: what failed so far.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Starts empty.

        Args:
            say: takes a line about each failure, with the place in the program where it is no message to the user.
        """
        self.all: list[Failure] = []
        self._say = say

    def add(self, step: str, diagnostic: str, label: str, error: Exception | str) -> None:
        """Takes note of a step that failed.

        Args:
            step: `table`, `figure`, ...
            diagnostic: whose.
            label: of the model, or "".
            error: why.
        """
        message = error if isinstance(error, str) else one_line(error)
        failure = Failure(label, diagnostic, step, message, computing=False)
        if failure not in self.all:
            self.all.append(failure)
            self._say(f"failed {failure.text}{'' if isinstance(error, str) else _place(error)}")

    @contextmanager
    def caught(
        self, step: str, diagnostic: str, label: str = "", *, but: type[Exception] | tuple[()] = ()
    ) -> Iterator[None]:
        """Ends a step at its first error instead of the page.

        Args:
            step: `table`, `figure`, ...
            diagnostic: whose.
            label: of the model, or "".
            but: an error that is everybody's, such as a full disk, and goes on.
        """
        try:
            yield
        except but:
            raise
        except Exception as error:
            self.add(step, diagnostic, label, error)

    def spared(self, step: str, diagnostic: str, ask: Callable[[Given], T], given: Given) -> T | None:
        """What a step makes of tables; where it fails, of the models for which it doesn't.

        Args:
            step: `figure`, `sentences`, ...
            diagnostic: whose.
            ask: takes what is given.
            given: a table with the column `model`, or several by name; without it there is nothing to spare.

        Returns:
            What `ask` returned, or None where it failed for every model. Where it fails for several models together
            and for none alone, a list is put together of what it says of each.
        """
        try:
            return ask(given)
        except Exception as error:
            whole = error
        tables = given.values() if isinstance(given, Mapping) else [given]
        alone: dict[str, Any] = {}
        for label in dict.fromkeys(itertools.chain.from_iterable(map(models_of, tables))):
            try:
                alone[label] = ask(of_models(given, [label]))
            except Exception as error:
                self.add(step, diagnostic, label, error)
                alone[label] = error
        left = [label for label, made in alone.items() if not isinstance(made, Exception)]
        if len(left) == len(alone):
            self.add(step, diagnostic, "", whole)
            lists = bool(alone) and all(isinstance(made, list) for made in alone.values())
            return list(itertools.chain(*alone.values())) if lists else None  # type: ignore[return-value]
        if left:
            with self.caught(step, diagnostic):
                return ask(of_models(given, left))
        return None

    def of(self, diagnostic: str, steps: Sequence[str]) -> set[str]:
        """The models for which some steps failed; "" among them where a step failed for all together.

        Args:
            diagnostic: whose.
            steps: their names.
        """
        return {one.label for one in self.all if one.diagnostic == diagnostic and one.part in steps}


def one_line(error: Exception) -> str:
    """An error's message in one line, after its type where it is none that a user was meant to see.

    Args:
        error: any.
    """
    text = printable(message_of(error))
    return text if isinstance(error, VisionscopeError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, VisionscopeError) or not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"


def models_of(table: pa.Table) -> list[str]:
    """The labels of the models that a table tells of.

    Args:
        table: any; without the column `model` it tells of none.
    """
    return [str(name) for name in table.column("model").unique().to_pylist()] if "model" in table.column_names else []


def of_models(given: Any, labels: Sequence[str]) -> Any:
    """What a table, or several by name, tell of some models; of what compares two, what compares two of them.

    Args:
        given: a table, or the tables of one diagnostic, in which `comparisons` and `between` name a second model.
        labels: of the models.
    """
    if isinstance(given, Mapping):
        pairs = {"model_x": labels, "model_y": labels}
        seconds: dict[str, dict[str, Sequence[str]]] = {"comparisons": {"other": [*labels, ""]}, "between": pairs}
        return {name: _filtered(table, {"model": labels, **seconds.get(name, {})}) for name, table in given.items()}
    return _filtered(given, {"model": labels})


def _filtered(table: pa.Table, wanted: Mapping[str, Sequence[str]]) -> pa.Table:
    for column, labels in wanted.items():
        if column in table.column_names and pa.types.is_string(table.schema.field(column).type):
            table = table.filter(pc.is_in(table[column], pa.array(labels, pa.string())))
    return table
