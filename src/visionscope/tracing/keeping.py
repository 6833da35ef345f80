"""Own operations that keep the places of a map, declared by whoever wrote them."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import get_overridable_functions, handle_torch_function

from visionscope.errors import ConfigError
from visionscope.tracing.functions import declare
from visionscope.tracing.record import tensors_in

Function = TypeVar("Function", bound=Callable[..., Any])


def keeps_axes(function: Function) -> Function:
    """Declares that an operation keeps places: its result has the shape of its first tensor, and the same positions.

    A map is followed through the functions of torch that are known to keep the positions of the grid. Any other,
    such as a kernel of your own, might reorder them, so what comes after it is left out and listed with its name,
    until it is declared. Take it as a decorator, or keep what it returns:

        scan = vs.keeps_axes(scan)                      # a function: use what comes back
        vs.keeps_axes(torch.ops.my_library.scan)        # an operator of torch: nothing else to do
        vs.keeps_axes(MyScan)                           # a class of modules: what they return, whatever they do inside

    Args:
        function: a function, an operator, or a class of modules.

    Returns:
        A class or an operator as it is; a function in a form that tracing sees as a whole. It computes the same.

    Raises:
        ConfigError: for what is none of these.
    """
    if isinstance(function, type) and issubclass(function, nn.Module):
        declare(function)
        return function
    if isinstance(function, (type, nn.Module)) or not callable(function):
        what = type(function).__name__ if not isinstance(function, type) else function.__name__
        instead = (
            "its class" if isinstance(function, nn.Module) else f"{what}.apply" if hasattr(function, "apply") else ""
        )
        advice = f"; pass {instead}" if instead else ""
        raise ConfigError(
            f"function: must be a function, an operator of torch or a class of modules, got {what}{advice}"
        )
    operator = getattr(function, "_opoverload", function)  # what torch.library.custom_op makes
    if isinstance(operator, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)) or _is_of_torch(operator):
        declare(operator)
        return function

    @functools.wraps(function)
    def visible(*args: Any, **kwargs: Any) -> Any:
        tensors = tuple(tensor for _, tensor in tensors_in((args, kwargs)) if isinstance(tensor, Tensor))
        if torch._C._is_torch_function_mode_enabled():
            return handle_torch_function(visible, tensors, *args, **kwargs)
        return function(*args, **kwargs)

    declare(visible)
    return visible  # type: ignore[return-value]


def _is_of_torch(function: Any) -> bool:
    return any(function in functions for functions in get_overridable_functions().values())
