"""What a person sees while a run goes on: one bar per job and one in total, on a terminal only."""

import dataclasses
from collections.abc import Iterable
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeElapsedColumn, TimeRemainingColumn

from visionscope.core.display import TaskText, above, bars


@dataclasses.dataclass(frozen=True)
class Bar:
    """One job.

    Attributes:
        key: of the job.
        text: in front of the bar.
        amount: how many images or parts it has.
        unit: which of these.
        passes: how many forward passes of one image each of them takes: its weight in the total.
    """

    key: str
    text: str
    amount: int
    unit: str = "images"
    passes: float = 1.0


class Progress:
    """Bars on stderr with the time left per job and in total; silent where stderr is no terminal.

    The total counts images or, where there are jobs in parts, forward passes of one image.

    Args:
        jobs: the bars.
        shown: False for none at all.
    """

    def __init__(self, jobs: Iterable[Bar], *, shown: bool = True) -> None:
        self._bars = bars(
            TaskText("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TaskText("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TaskText("left"),
            TimeRemainingColumn(),
            shown=shown,
        )
        self._jobs = {bar.key: bar for bar in jobs}
        self._tasks = {
            bar.key: self._bars.add_task(bar.text, total=bar.amount, start=False, unit=bar.unit)
            for bar in self._jobs.values()
        }
        self._total = self._bars.add_task(
            "total",
            total=sum(bar.amount * bar.passes for bar in self._jobs.values()),
            unit="images" if all(bar.unit == "images" for bar in self._jobs.values()) else "passes",
        )

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, keys: Iterable[str], amount: int) -> None:
        """Counts images or parts that are done, for each of the jobs of those keys."""
        for key in keys:
            task = self._tasks[key]
            self._start(task)
            self._bars.advance(task, amount)
            self._bars.advance(self._total, amount * self._jobs[key].passes)

    def skip(self, key: str, amount: int) -> None:
        """Takes off a job what needs no work, so that it doesn't count as speed."""
        for task, taken in ((self._tasks[key], float(amount)), (self._total, amount * self._jobs[key].passes)):
            known = self._bars.tasks[task].total or 0
            self._bars.update(task, total=known - taken)

    def say(self, line: str) -> None:
        """A line above the bars."""
        above(self._bars, line)

    def _start(self, task: TaskID) -> None:
        if not self._bars.tasks[task].started:
            self._bars.start_task(task)
