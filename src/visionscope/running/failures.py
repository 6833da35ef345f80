"""Parts that could not be computed: what is stored of them and what a run hands back."""

import dataclasses
import traceback
from typing import Any

from visionscope.errors import VisionscopeError
from visionscope.running.plan import Job
from visionscope.running.store import Store, now


@dataclasses.dataclass(frozen=True)
class Failure:
    """A part that could not be computed.

    Attributes:
        label: the model.
        diagnostic: its name.
        part: its name.
        message: why, in one line.
    """

    label: str
    diagnostic: str
    part: str
    message: str


def failed(store: Store, job: Job, part: str, error: Exception, seconds: float) -> Failure:
    """Stores and logs why a part failed.

    Args:
        store: of the run.
        job: whose part it is.
        part: its name.
        error: what was raised.
        seconds: how long it had taken.

    Raises:
        StoreError: when the disk refuses.
    """
    message = _one_line(error)
    store.log(f"failed {named(job, part, seconds)}: {message}")
    store.write_error(job.record, part, _described(error, message))
    return Failure(job.record["model"]["label"], job.diagnostic.name, part, message)


def named(job: Job, part: str, seconds: float) -> str:
    """A part as the log names it."""
    label = job.record["model"]["label"]
    return f"{job.diagnostic.name}/{job.record['job'][:12]}/{part} model={label} seconds={seconds:.3f}"


def _described(error: Exception, message: str) -> dict[str, Any]:
    described = {"type": type(error).__name__, "message": message, "time": now()}
    if not isinstance(error, VisionscopeError):
        described["traceback"] = "".join(traceback.format_exception(error))
    return described


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, VisionscopeError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
