"""Shows how vision models work: what every block does to the feature maps, side by side, for any model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionscope.api import diagnose as diagnose
    from visionscope.api import fourier as fourier
    from visionscope.api import hessian as hessian
    from visionscope.api import landscape as landscape
    from visionscope.api import measure as measure
    from visionscope.api import points as points
    from visionscope.api import similarity as similarity
    from visionscope.api import variance as variance
    from visionscope.building.harmonize import harmonize as harmonize
    from visionscope.data.sample import Sample as Sample
    from visionscope.data.sources import open_source as open_source
    from visionscope.errors import VisionscopeError as VisionscopeError
    from visionscope.models.load import load_model as load_model
    from visionscope.running.store import Store as Store
    from visionscope.tracing.keeping import keeps_axes as keeps_axes
    from visionscope.training.train import train as train

# Imported when first used, so that `visionscope --help` answers at once.
_HOMES = {
    "Sample": "data.sample",
    "Store": "running.store",
    "VisionscopeError": "errors",
    "diagnose": "api",
    "fourier": "api",
    "harmonize": "building.harmonize",
    "hessian": "api",
    "keeps_axes": "tracing.keeping",
    "landscape": "api",
    "load_model": "models.load",
    "measure": "api",
    "open_source": "data.sources",
    "points": "api",
    "similarity": "api",
    "train": "training.train",
    "variance": "api",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visionscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"visionscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
