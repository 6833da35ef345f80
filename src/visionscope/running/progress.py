"""What a person sees while a run goes on: one bar per job and one in total, on a terminal only."""

import sys
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Bars on stderr with the time left per job and in total; silent where stderr is no terminal.

    Args:
        jobs: key, description and number of images of every job.
    """

    def __init__(self, jobs: Iterable[tuple[str, str, int]]) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        listed = list(jobs)
        self._tasks = {key: self._bars.add_task(text, total=images, start=False) for key, text, images in listed}
        self._total = self._bars.add_task("[bold]total", total=sum(images for _, _, images in listed))

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, keys: Iterable[str], images: int) -> None:
        """Counts images that were seen, for each of the jobs of those keys."""
        for key in keys:
            task = self._tasks[key]
            self._start(task)
            self._bars.advance(task, images)
            self._bars.advance(self._total, images)

    def skip(self, key: str, images: int) -> None:
        """Takes images off a job that need no work, so that they don't count as speed."""
        for task in (self._tasks[key], self._total):
            known = self._bars.tasks[task].total or 0
            self._bars.update(task, total=known - images)

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._bars.console.print(line, highlight=False) if not self._bars.disable else None

    def _start(self, task: TaskID) -> None:
        if not self._bars.tasks[task].started:
            self._bars.start_task(task)
