"""What `--on` says, and the executor that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionscope.core.values import Rule, Value, shown
from visionscope.errors import ConfigError, nearest
from visionscope.experiments.executors.executor import Executor

MOST_WORKERS = 10_000
_CLIENT = re.compile(r"ray://[^\s/:]+:[0-9]{1,5}")
_WORDS = ("local", "ray", "slurm")


def executor_for(
    on: str = "local", *, workers: int, folder: Path, options: Mapping[str, Any] | None = None
) -> Executor:
    """The executor for a text of `--on`; nothing runs before its first task.

    Args:
        on: `local` (processes of this machine), `ray` (the Ray cluster that this machine is a node of, else one of this
            machine alone), `ray://HOST:PORT` (a cluster's client server), or `slurm`.
        workers: how many tasks at a time, each with one core and one thread.
        folder: for the jobs of Slurm, on a disk that all its machines share.
        options: of Slurm, see `slurm_executor`.

    Raises:
        ConfigError: for another text, options without Slurm, a package that isn't installed, or a cluster that doesn't
            answer.
    """
    count = Value(int, Rule(least=1, most=MOST_WORKERS)).checked("workers", workers)
    if on not in _WORDS and not _CLIENT.fullmatch(on):
        hint = " Give host and port." if on.startswith("ray:") else nearest(on, _WORDS)
        raise ConfigError(f"on: must be local, ray, ray://HOST:PORT or slurm; got {shown(on)}.{hint}")
    if options and on != "slurm":
        raise ConfigError(f"slurm: its options need --on slurm; got --on {on}")
    if on == "local":
        from visionscope.experiments.executors.processes import process_executor

        return process_executor(count)
    if on == "slurm":
        from visionscope.experiments.executors.slurm_jobs import slurm_executor

        return slurm_executor(folder, count, options or {})
    from visionscope.experiments.executors.ray_actors import ray_executor

    return ray_executor(on, count)
