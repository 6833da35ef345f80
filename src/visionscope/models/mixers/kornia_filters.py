"""Where mixers get kornia's filters from: an extra, imported when the first mixer that needs it is built."""

from __future__ import annotations

from types import ModuleType

import torch

from visionscope.errors import ConfigError


def kornia_filters(mixer: str) -> ModuleType:
    """The module `kornia.filters`.

    Args:
        mixer: what needs it, for the message.

    Raises:
        ConfigError: where kornia is not installed.
    """
    try:
        # Networks are also built on the meta device, where the constants that kornia makes once would have no values.
        with torch.device("cpu"):
            import kornia.filters
    except ImportError as error:
        raise ConfigError(f"mixer {mixer} needs kornia: pip install 'visionscope[mixers]'") from error
    return kornia.filters
