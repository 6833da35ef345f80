"""What a person sees while a run goes on: bars on a terminal, elsewhere a line now and then."""

import dataclasses
from collections.abc import Iterable
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeElapsedColumn, TimeRemainingColumn

from visionscope.core.display import TaskText, above
from visionscope.core.display import bars as bars_of
from visionscope.core.ticking import Ticking, duration


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
    """Bars on stderr with the time left per job and in total; where that is no terminal, a line now and then.

    The total counts images or, where there are jobs in parts, forward passes of one image.

    Args:
        jobs: the bars.
        bars: False for lines on a terminal, too.
    """

    def __init__(self, jobs: Iterable[Bar], *, bars: bool = True) -> None:
        self._bars = bars_of(
            TaskText("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TaskText("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TaskText("left"),
            TimeRemainingColumn(),
            shown=bars,
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

        self._done: dict[str, int] = dict.fromkeys(self._jobs, 0)
        self._current = next(iter(self._jobs), "")
        self._lines = Ticking(self._line, shown=self._bars.disable and bool(self._jobs))

    def __enter__(self) -> "Progress":
        self._bars.start()
        self._lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)
        self._bars.stop()

    def begin(self, key: str) -> None:
        """Says which job is at work, before anything of it is done."""
        self._current = key

    def advance(self, keys: Iterable[str], amount: int) -> None:
        """Counts images or parts that are done, for each of the jobs of those keys."""
        for key in keys:
            task = self._tasks[key]
            self._start(task)
            self._current = key
            self._done[key] += amount
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

    def _line(self, seconds: float) -> str:
        """How far it is: 'resnet18 lesion: 3 of 12 parts, 40 % of all, about 20 s left'."""
        job, task = self._jobs[self._current], self._bars.tasks[self._tasks[self._current]]
        total, done = self._bars.tasks[self._total], self._bars.tasks[self._total].completed
        text = f"{job.text}: {self._done[self._current]} of {task.total or 0:.0f} {job.unit}"
        if not done or not total.total:
            return f"{text}, {duration(seconds)} so far"
        share = min(1.0, done / total.total)
        of_all = f", {share:.0%} of all".replace("%", " %") if len(self._jobs) > 1 else ""
        return f"{text}{of_all}, about {duration(seconds * (1 - share) / share)} left"

    def _start(self, task: TaskID) -> None:
        if not self._bars.tasks[task].started:
            self._bars.start_task(task)
