"""Shows an experiment while it runs: one live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable

from visionscope.core.display import LiveTable
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
        self._table = LiveTable()
        self._told = time.monotonic()

    def __enter__(self) -> Showing:
        self._table.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._table.__exit__(*raised)

    def show(self, driver: Driver) -> None:
        """Brings the table up to date, or writes a line where a minute has passed since the last.

        Args:
            driver: at work.
        """
        if self._table.shown:
            self._table.update(self._summary(driver), ("running", "for", "of about"), self._rows(driver))
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
