"""Parts that could not be computed: what is stored of them."""

from visionscope.core.failures import Failure, one_line
from visionscope.running.plan import Job
from visionscope.running.store import PartStore


def failed(store: PartStore, job: Job, part: str, error: Exception, seconds: float) -> Failure:
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
    store.write_error(job.record, part, error)
    return Failure(job.record["model"]["label"], job.diagnostic.name, part, message)


def named(job: Job, part: str, seconds: float) -> str:
    """A part as the log names it."""
    label = job.record["model"]["label"]
    return f"{job.diagnostic.name}/{job.record['job'][:12]}/{part} model={label} seconds={seconds:.3f}"
