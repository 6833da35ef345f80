"""Versions of Python and of the libraries, as records and pages state them."""

import functools
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

MEASURING = (
    *("visionscope", "torch", "torchvision", "timm", "transformers", "numpy", "scipy", "pyarrow", "pillow"),
    *("datasets", "safetensors", "lightning-fabric", "einops"),
)
"""The packages that numbers can depend on."""
DRAWING = ("plotly", "matplotlib", "jinja2")
"""Those that a page depends on beside them."""


def versions(packages: Sequence[str] = MEASURING) -> dict[str, str]:
    """The versions of Python and of packages, in their order; a package that is not installed is left out.

    Args:
        packages: names of distributions.
    """
    found = {"python": platform.python_version()}
    for package in packages:
        known = _version(package)
        if known is not None:
            found[package] = known
    return found


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
