"""Shows an experiment while it runs: one live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.live import Live

from visionscope.core.display import console_of, table_of
from visionscope.core.terminal import tell
from visionscope.core.ticking import duration
from visionscope.experiments.driver import Driver, Task, kind_of
from visionscope.experiments.outlook import Outlook
from visionscope.experiments.plan import TrainTask

_LINE_SECONDS = 60.0


class Showing:
    """A live table of the tasks that run, with what is left and until when.

    Args:
        outlook: tells how long trainings take that none was like so far.
        workers: that share the work.
    """

    def __init__(self, outlook: Outlook, workers: int) -> None:
        self._outlook, self._workers = outlook, workers
        shown = sys.stderr.isatty()
        self._live = Live(console=console_of(sys.stderr), auto_refresh=False, transient=True) if shown else None
        self._told = time.monotonic()

    def __enter__(self) -> Showing:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, driver: Driver) -> None:
        """Brings the table up to date, or writes a line where a minute has passed since the last.

        Args:
            driver: at work.
        """
        if self._live is not None:
            self._live.update(table_of(self._summary(driver), ("running", "for", "of about"), self._rows(driver)))
            self._live.refresh()
        elif time.monotonic() - self._told > _LINE_SECONDS:
            self._told = time.monotonic()
            tell(f"visionscope: {self._summary(driver)}")

    def _summary(self, driver: Driver) -> str:
        failed = f", {len(driver.failed)} failed" if driver.failed else ""
        expected = [self._expected(driver, task) for task in (*driver.left, *driver.running)]
        known = [seconds for seconds in expected if seconds is not None]
        left = f", about {duration(sum(known) / self._workers)} left" if known and len(known) == len(expected) else ""
        return f"{driver.done} tasks done{failed}, {len(driver.running)} running, {len(driver.left)} waiting{left}"

    def _rows(self, driver: Driver) -> Iterable[tuple[str, str, str]]:
        now = time.monotonic()
        for task, began in driver.running.items():
            expected = self._expected(driver, task)
            yield task.text, duration(now - began), "" if expected is None else duration(expected)

    def _expected(self, driver: Driver, task: Task) -> float | None:
        """How long a task takes: as its like did, else as the plan foresaw, else as all of its sort did."""
        name, sort = kind_of(task)
        own = driver.seconds.get((name, sort))
        if own:
            return sum(own) / len(own)
        if isinstance(task, TrainTask):
            return self._outlook.of(task)
        like = [seconds for (_, other), taken in driver.seconds.items() if other == sort for seconds in taken]
        return sum(like) / len(like) if like else None
