"""Where a training's values go: always log.csv; TensorBoard, W&B and MLflow when asked for."""

from __future__ import annotations

import csv
import importlib
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from visionscope.core.files import read_regular, write_whole
from visionscope.core.refusals import advice
from visionscope.errors import ConfigError, nearest

_LOG = "log.csv"
_MOST_BYTES = 2**28


class Tracker(Protocol):
    """Takes the values of a training."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Keeps the values of a step; the names are the same each time, for log.csv None where one was not measured."""

    def close(self) -> None:
        """Writes what is still held."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuses names that are none, before anything is computed.

    Args:
        names: of trackers.

    Raises:
        ConfigError: for an unknown name, with the nearest.
    """
    for name in names:
        if name not in TRACKERS:
            rule = f"must be among {', '.join(TRACKERS)}"
            raise ConfigError(f"--track: {rule}; got {name!r}.{nearest(name, TRACKERS)}")


def open_trackers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], resumed_at: int | None
) -> list[Tracker]:
    """Opens `log.csv` and the trackers asked for, which from then on can't stop the training.

    A tracker that fails later warns, once. A training that goes on at a step goes on in the same log and run: rows of
    log.csv and TensorBoard beyond that step are removed; W&B and MLflow can't take back the rows between that step and
    the stop, but what the training gives for them again is the same.

    Args:
        names: of `TRACKERS`.
        folder: of the training; its name is the run's.
        settings: what was asked for, shown beside the values; anything that JSON can hold.
        resumed_at: the step that the training goes on from, or None when it begins.

    Raises:
        ConfigError: for an unknown name, a missing package, or a tracker that can't be opened.
    """
    check_trackers(names)
    opened: list[Tracker] = []
    for name, make in {_LOG: _Csv, **{name: TRACKERS[name] for name in names}}.items():
        try:
            opened.append(_Guarded(name, make(folder, settings, resumed_at)))
        # Each of these libraries has errors of its own; whatever it is, better now than hours later.
        except Exception as error:
            for tracker in opened:
                tracker.close()
            if isinstance(error, ConfigError):
                raise
            reason = f"{error.filename}: {advice(error)}" if isinstance(error, OSError) else _line(error)
            raise ConfigError(f"--track: {name} can't be opened: {reason}") from error
    return opened


class _Guarded:
    """Keeps a tracker's errors from the training."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._warned = name, tracker, False

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        known: Any = values  # the log keeps a column for what is measured later; the others know numbers alone
        if self._name != _LOG:
            known = {name: value for name, value in values.items() if value is not None}
        self._try(f"the values of step {step}", lambda: self._tracker.log(step, known))

    def close(self) -> None:
        self._try("its last values", self._tracker.close)

    def _try(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"{self._name} didn't take {what}: {_line(error)}; the training goes on", stacklevel=3)


class _Csv:
    """One row a step, with the columns of the first row, on the disk at once."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resumed_at: int | None) -> None:
        path = folder / _LOG
        header, rows = _rows(path) if resumed_at is not None and path.exists() else ([], [])
        kept = [header, *(row for row in rows if int(row[0]) <= (resumed_at or 0))] if header else []
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(kept)
        write_whole(path, text.getvalue().encode())
        self._columns = header
        self._file = path.open("a", newline="")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, **values}
        writer = csv.DictWriter(self._file, self._columns or list(row), lineterminator="\n")
        if not self._columns:
            writer.writeheader()
            self._columns = list(row)
        writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a log up to the first that was not written whole."""
    text = read_regular(path, _MOST_BYTES).decode(errors="replace")
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    header, *rows = list(csv.reader(lines)) or [[]]
    if header[:1] != ["step"]:
        return [], []
    whole = [len(row) == len(header) and row[0].isdecimal() for row in rows]
    return header, rows[: whole.index(False) if False in whole else None]


class _TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resumed_at: int | None) -> None:
        _package("tensorboard")
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        purge = None if resumed_at is None else resumed_at + 1
        self._writer = writer(str(folder / "tensorboard"), purge_step=purge)
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=1, default=str)}\n```", resumed_at or 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of the project `visionscope`, named as the folder; WANDB_MODE and the other variables hold."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resumed_at: int | None) -> None:
        wandb = _package("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "visionscope"),
            id=folder.name,
            name=folder.name,
            dir=str(folder),
            config=dict(settings),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of the experiment `visionscope`, in `mlflow.db` in the folder unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resumed_at: int | None) -> None:
        _package("mlflow", "sqlalchemy", "alembic")  # the last two for a database on the disk
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        self._entities = importlib.import_module("mlflow.entities")
        self._client = importlib.import_module("mlflow.tracking").MlflowClient(tracking_uri=place)
        experiment = self._client.get_experiment_by_name("visionscope")
        number = experiment.experiment_id if experiment else self._client.create_experiment("visionscope")
        found = [] if resumed_at is None else self._client.search_runs([number], f"run_name = '{folder.name}'")
        self._run: str = (found[0] if found else self._client.create_run(number, run_name=folder.name)).info.run_id
        if not found:
            for name, value in settings.items():
                self._client.log_param(self._run, name, value if isinstance(value, str) else json.dumps(value))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = round(time.time() * 1000)
        metrics = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._run)


TRACKERS: Mapping[str, Callable[[Path, Mapping[str, Any], int | None], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
}


def _package(name: str, *further: str) -> Any:
    """The tracker's package, once it and what it needs are known to be there."""
    try:
        for other in further:
            importlib.import_module(other)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track {name} needs further packages: pip install 'visionscope[track]' ({error})"
        ) from error


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
