"""Networks from the user's own Python file: `path/to/file.py:factory`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from visionscope.errors import ConfigError, nearest
from visionscope.models.arguments import check_arguments
from visionscope.models.preprocessing import parts_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factory:
    """A function in a Python file that returns a network.

    Attributes:
        name: `path/to/file.py:function`.
        function: the function.
        sha256: of the file's bytes.
    """

    name: str
    function: Callable[..., Any]
    sha256: str

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Calls the function.

        Args:
            arguments: its keyword arguments.

        Raises:
            ConfigError: when it has no such argument, fails, or returns something else than a module.
        """
        check_arguments(self.name, self.function, arguments)
        try:
            model = self.function(**arguments)
        except Exception as error:  # the user's code may raise anything; the cause stays attached
            raise ConfigError(f"{self.name} failed with {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            hint = "; return its .module()" if hasattr(model, "module") else ""
            raise ConfigError(f"{self.name} must return a torch.nn.Module; it returned {type(model).__name__}{hint}")
        return model

    def input_parts(self, model: nn.Module) -> dict[str, Any]:
        """Size, mean, std, interpolation and crop, as far as a `pretrained_cfg` or `default_cfg` says them.

        It is a dictionary in timm's words (`input_size`, `mean`, `std`, `interpolation`, `crop_pct`), an attribute of
        the model or of the function.

        Args:
            model: what the function returned.
        """
        for owner in (model, self.function):
            for attribute in ("pretrained_cfg", "default_cfg"):
                config = getattr(owner, attribute, None)
                if isinstance(config, Mapping) and config:
                    return parts_of(config)
        return {}


def open_factory(name: str) -> Factory:
    """Imports the Python file of `path/to/file.py:function`, which runs it; modules beside it can be imported by it.

    Args:
        name: the file and the function in it.

    Raises:
        ConfigError: when there is no such file or function, or the file can't be imported.
    """
    text, _, attribute = name.rpartition(":")
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"model {name!r}: there is no file {path}")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    specification = importlib.util.spec_from_file_location(f"visionscope_model_{sha256[:12]}", path)
    assert specification is not None  # the suffix is .py
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses and pickles look their module up by name
    sys.path.insert(0, str(path.parent))
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # the user's file may raise anything; the cause stays attached
        del sys.modules[specification.name]
        raise ConfigError(f"model {name!r}: importing it failed with {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    function = getattr(module, attribute, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"model {name!r}: {path.name} has no function {attribute!r}.{nearest(attribute, own)}")
    return Factory(name=name, function=function, sha256=sha256)
