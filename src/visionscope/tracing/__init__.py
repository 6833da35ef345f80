"""Finding points by what a model does, and watching them."""

from visionscope.tracing.discover import Unwatched
from visionscope.tracing.watch import Trace, trace, watch

__all__ = ["Trace", "Unwatched", "trace", "watch"]
