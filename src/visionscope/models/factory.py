"""Networks from the user's own Python file: `path/to/file.py:factory`."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from visionscope.core.printable import quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models.arguments import check_arguments, reason_of
from visionscope.models.find import factory_source
from visionscope.models.local_code import LocalCode
from visionscope.models.preprocessing import stated_parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factory:
    """A function in a Python file that returns a network.

    Attributes:
        name: `path/to/file.py:function`.
        function: the function.
        source: the file's bytes.
        code: the modules that it brings in.
    """

    name: str
    function: Callable[..., Any]
    source: bytes
    code: LocalCode

    @property
    def identity(self) -> str:
        """The code that the network comes from: `sha256:...` of the file, and of all else where there is any.

        That is every module that its import and the calls of the function have brought in so far, however they were
        imported and wherever they lie, those that import statements anywhere in them name, and every file that they
        have read. Where they lie is no part of it. Not in it: what is installed, the system's files, caches, and what
        the code has written itself; of a file of more than 64 MiB the size alone counts.
        """
        modules = self.code.digest(self.source)
        return f"sha256:{hashlib.sha256(self.source).hexdigest()}{f' modules sha256:{modules}' if modules else ''}"

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Calls the function.

        Args:
            arguments: its keyword arguments.

        Raises:
            ConfigError: when it has no such argument, fails, or returns something else than a module.
        """
        check_arguments(self.name, self.function, arguments)
        try:
            with self.code.entered():
                model = self.function(**arguments)
        except (KeyboardInterrupt, ConfigError):
            raise
        except BaseException as error:  # the user's code may raise anything, sys.exit() too; the cause stays attached
            raise ConfigError(f"{self.name} failed with {_reason(error, self.code)}") from error
        if isinstance(model, type):
            raise ConfigError(
                f"{self.name} must return a torch.nn.Module; it returned the class {model.__name__}, "
                f"return {model.__name__}()"
            )
        if inspect.iscoroutine(model):
            model.close()  # it would warn that nobody awaited it
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
        return stated_parts(model, self.function)


def open_factory(name: str) -> Factory:
    """Imports the Python file of `path/to/file.py:function`, which runs it; modules beside it can be imported by it.

    Args:
        name: the file and the function in it.

    Raises:
        ConfigError: when there is no such file or function, or the file can't be imported.
    """
    path, source, attribute = factory_source(name)
    code = LocalCode(path.parent)
    module = _module(path, source)
    sys.modules[module.__name__] = module  # dataclasses and pickles look their module up by name
    try:
        code.run(module, source, str(path))
    except BaseException as error:  # the user's file may raise anything, sys.exit() too; the cause stays attached
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt | ConfigError):
            raise
        raise ConfigError(f"model {quoted(name)}: importing it failed with {_reason(error, code)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"model {quoted(name)}: {path.name} has no function {quoted(attribute)}.{nearest(attribute, own)}"
        )
    return Factory(name=name, function=function, source=source, code=code)


def _module(path: Path, source: bytes) -> ModuleType:
    specification = spec_from_file_location(f"visionscope_model_{hashlib.sha256(source).hexdigest()[:12]}", path)
    assert specification is not None  # the suffix is .py
    return module_from_spec(specification)


def _reason(error: BaseException, code: LocalCode) -> str:
    """An error of the user's code in one line, with the line of it where that is not in the message."""
    if isinstance(error, SyntaxError):
        return reason_of(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code.is_local(frame.filename)]
    return reason_of(error) + (f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else "")
