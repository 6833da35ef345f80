"""Fixed spans of a sample's images: what is stored, resumed and shared out as one."""

from visionscope.core.sample import SPAN


def spans_of(images: int) -> tuple[str, ...]:
    """The parts of a sample: fixed spans of 256 images, named by their first position and the one after the last.

    Args:
        images: in the sample.
    """
    return tuple(f"{start:04d}-{min(start + SPAN, images):04d}" for start in range(0, images, SPAN))


def span_of(part: str) -> tuple[int, int]:
    """The first position of a part and the one after its last.

    Args:
        part: from `spans_of`.
    """
    start, stop = part.split("-")
    return int(start), int(stop)
