"""Where files lie: with what is installed, with the system, in a cache, or among the user's own."""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
import tempfile
from pathlib import Path

_INSTALLED = tuple(
    os.path.realpath(place) + os.sep
    for place in (
        *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages(),
        str(Path(__file__).parents[1]),
    )
)
_SYSTEM = tuple(f"/{name}/" for name in ("proc", "sys", "dev", "etc", "usr", "bin", "lib", "lib64", "run")) + tuple(
    os.path.join(prefix, name, "") for prefix in {sys.prefix, sys.base_prefix} for name in ("share", "etc", "ssl")
)
_CACHES = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")


@functools.cache
def is_installed(path: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to visionscope itself.

    Args:
        path: of the file; links are followed.
    """
    place = real(path)
    parts = Path(place).parts
    return "site-packages" in parts or "dist-packages" in parts or place.startswith(_INSTALLED)


@functools.cache
def real(path: str) -> str:
    """The path without links, looked up once.

    Args:
        path: of a file.
    """
    return os.path.realpath(path)


def is_own(path: str) -> bool:
    """Whether a file is the user's own: not installed, not the system's, and in no cache.

    Args:
        path: absolute.
    """
    if path.startswith((*_SYSTEM, *_caches())) or "__pycache__" in path:
        return False
    return not is_installed(path)


def _caches() -> tuple[str, ...]:
    named = (os.environ.get(name) for name in _CACHES)
    home = os.path.expanduser("~")
    return (
        *(os.path.join(os.path.abspath(place), "") for place in named if place),
        os.path.join(home, ".cache", ""),
        os.path.join(home, ".triton", ""),
        os.path.join(tempfile.gettempdir(), "torchinductor_"),
    )
