"""Methods that live in modules of their own, imported when they are first called."""

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def later(**names: tuple[str, ...]) -> Callable[[type[T]], type[T]]:
    """Gives a class methods that are functions of the modules beside its own.

    So a diagnostic's question - its parameters and their rules - is read without torch, and what measures, draws or
    speaks is imported by whoever asks for it.

    Args:
        **names: by module, the functions in it that become methods; they take the instance first.

    Example:
        >>> @later(measure=("parts", "measure"), figure=("figure",))
        ... class Lesion:
        ...     name = "lesion"
        >>> callable(Lesion.figure)
        True
    """

    def with_methods(owner: type[T]) -> type[T]:
        package = owner.__module__.rpartition(".")[0]
        for module, functions in names.items():
            for function in functions:
                setattr(owner, function, _method(f"{package}.{module}", function))
        return owner

    return with_methods


def _method(module: str, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(self, *args, **kwargs)

    method.__name__ = name
    return method
