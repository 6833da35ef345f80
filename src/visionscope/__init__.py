"""Shows how vision models work: what every block does to the feature maps, side by side, for any model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionscope.api import diagnose as diagnose
    from visionscope.api import measure as measure
    from visionscope.api import points as points
    from visionscope.building.harmonize import harmonize as harmonize
    from visionscope.core.sample import InputConfig as InputConfig
    from visionscope.data.sample import Sample as Sample
    from visionscope.data.sources import open_source as open_source
    from visionscope.errors import VisionscopeError as VisionscopeError
    from visionscope.models.load import load_model as load_model
    from visionscope.monitoring.monitor import Monitor as Monitor
    from visionscope.questions.curvature import density as density
    from visionscope.questions.curvature import hessian as hessian
    from visionscope.questions.curvature import landscape as landscape
    from visionscope.questions.curvature import sharpness as sharpness
    from visionscope.questions.feature_maps import attention as attention
    from visionscope.questions.feature_maps import fourier as fourier
    from visionscope.questions.feature_maps import receptive_field as receptive_field
    from visionscope.questions.feature_maps import similarity as similarity
    from visionscope.questions.feature_maps import token_similarity as token_similarity
    from visionscope.questions.feature_maps import tokens as tokens
    from visionscope.questions.feature_maps import variance as variance
    from visionscope.questions.robustness import adversarial as adversarial
    from visionscope.questions.robustness import compression as compression
    from visionscope.questions.robustness import corruption as corruption
    from visionscope.questions.robustness import fourier_heatmap as fourier_heatmap
    from visionscope.questions.robustness import frequency_noise as frequency_noise
    from visionscope.questions.robustness import lesion as lesion
    from visionscope.questions.trust import calibration as calibration
    from visionscope.questions.trust import fit as fit
    from visionscope.questions.trust import shape_bias as shape_bias
    from visionscope.running.store import Store as Store
    from visionscope.tracing.keeping import keeps_axes as keeps_axes
    from visionscope.training.train import train as train

# Imported when first used, so that `visionscope --help` answers at once.
_HOMES = {
    "InputConfig": "core.sample",
    "Monitor": "monitoring.monitor",
    "Sample": "data.sample",
    "Store": "running.store",
    "VisionscopeError": "errors",
    "adversarial": "questions.robustness",
    "attention": "questions.feature_maps",
    "calibration": "questions.trust",
    "compression": "questions.robustness",
    "corruption": "questions.robustness",
    "density": "questions.curvature",
    "diagnose": "api",
    "fit": "questions.trust",
    "fourier": "questions.feature_maps",
    "fourier_heatmap": "questions.robustness",
    "frequency_noise": "questions.robustness",
    "harmonize": "building.harmonize",
    "hessian": "questions.curvature",
    "keeps_axes": "tracing.keeping",
    "landscape": "questions.curvature",
    "lesion": "questions.robustness",
    "load_model": "models.load",
    "measure": "api",
    "open_source": "data.sources",
    "points": "api",
    "receptive_field": "questions.feature_maps",
    "shape_bias": "questions.trust",
    "sharpness": "questions.curvature",
    "similarity": "questions.feature_maps",
    "token_similarity": "questions.feature_maps",
    "tokens": "questions.feature_maps",
    "train": "training.train",
    "variance": "questions.feature_maps",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visionscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"visionscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
