"""Parts that could not be computed: what is stored of them."""

import traceback
from typing import Any

from visionscope.core.failures import Failure, one_line
from visionscope.errors import VisionscopeError
from visionscope.running.plan import Job
from visionscope.running.store import Store, now


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
    message = one_line(error)
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
