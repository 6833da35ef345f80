"""Samples of whole mini-batches, one Hessian each."""

from visionscope.core.sample import MINI_BATCH
from visionscope.errors import DataError


def whole_mini_batches(name: str, asked: int, available: int) -> int:
    """Images in as many whole mini-batches of 16 as asked, or as there are.

    Args:
        name: of the diagnostic, for the error.
        asked: how many mini-batches.
        available: images in the sample.

    Raises:
        DataError: when they don't fill one mini-batch.
    """
    if available < MINI_BATCH:
        raise DataError(f"{name}: needs at least {MINI_BATCH} images, one mini-batch; the data have {available}")
    return min(asked, available // MINI_BATCH) * MINI_BATCH
