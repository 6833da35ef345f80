"""What is known of torch's functions: which keep the places of a map, and which might put them in another order."""

import re
from typing import Any

from visionscope.tracing.operations import CONVOLUTIONS, PERMUTATIONS, REDUCTIONS, VIEWS, is_copy
from visionscope.tracing.products import PRODUCTS

# Each value is computed from the values at its own place.
ELEMENTWISE = re.compile(
    r"abs|absolute|acos|acosh|add|addcdiv|addcmul|and|angle|arccos|arccosh|arcsin|arcsinh|arctan|"
    r"arctan2|arctanh|asin|asinh|atan|atan2|atanh|bitwise_and|bitwise_not|bitwise_or|bitwise_xor|ceil|"
    r"celu|clamp|clamp_max|clamp_min|clip|conj|conj_physical|copysign|cos|cosh|deg2rad|digamma|div|"
    r"divide|elu|eq|erf|erfc|erfinv|exp|exp2|exponential|expit|expm1|fake_quantize_per_channel_affine|"
    r"fake_quantize_per_tensor_affine|fix|float_power|floor|floor_divide|floordiv|fmax|fmin|fmod|frac|"
    r"frexp|ge|gelu|greater|greater_equal|gt|hardshrink|hardsigmoid|hardswish|hardtanh|heaviside|hypot|"
    r"i0|imag|invert|isclose|isfinite|isinf|isnan|isneginf|isposinf|isreal|ldexp|le|leaky_relu|lerp|"
    r"less|less_equal|lgamma|log|log10|log1p|log2|log_sigmoid|logaddexp|logaddexp2|logical_and|"
    r"logical_not|logical_or|logical_xor|logit|logsigmoid|lt|masked_fill|maximum|minimum|mish|mod|mul|"
    r"multiply|mvlgamma|nan_to_num|ne|neg|negative|nextafter|not_equal|or|polar|positive|pow|prelu|"
    r"rad2deg|radd|rdiv|real|real_if_close|reciprocal|relu|relu6|remainder|rfloordiv|rmod|rmul|round|"
    r"rpow|rrelu|rrelu_with_noise|rsqrt|rsub|rtruediv|selu|sgn|sigmoid|sign|signbit|silu|sin|sinc|"
    r"sinh|softplus|softshrink|softsign|special_erf|special_expit|special_log1p|special_ndtr|sqrt|square|"
    r"sub|subtract|swish|tan|tanh|tanhshrink|threshold|tril|triu|true_divide|truediv|trunc|where|"
    r"xlogy|xor"
)
# The same, and from others that stay where they are: of a norm, or along a scan.
NORMALIZING = re.compile(
    r"softmax|log_softmax|softmin|gumbel_softmax|special_softmax|special_log_softmax|safe_softmax|"
    r"normalize|layer_norm|native_layer_norm|group_norm|native_group_norm|batch_norm|native_batch_norm|"
    r"cudnn_batch_norm|instance_norm|rms_norm|local_response_norm|renorm|cumsum|cumprod|cummax|cummin|"
    r"logcumsumexp|lstm|gru|rnn_tanh|rnn_relu|copy"
)
# Those whose result has a coarser or finer grid, or other channels, in the order of the old one.
RESIZING = re.compile(
    r"(adaptive_)?(avg|max|lp)_pool[123]d(_with_indices)?|fractional_max_pool[23]d(_with_indices)?|max_unpool[123]d"
    r"|interpolate|upsample(_\w+)?|pad|constant_pad_nd|(reflection|replication|circular)_pad[123]d"
    r"|pixel_shuffle|glu|diff"
)
TRANSFORMS = re.compile(r"fft_(?P<inverse>i?)(?P<half>r|h?)fft(?P<number>[2n]?)")
_PIECES = re.compile(r"(unsafe_)?(split|chunk)|tensor_split|split_with_sizes|hsplit|vsplit")
_ARRANGING = re.compile(r"cat|concat|concatenate|stack|unbind|select|narrow|linear|unfold|fold|pixel_unshuffle")
_REORDERING = re.compile(
    r"getitem|setitem|gather|take_along_dim|index_select|sort|topk|argsort|msort|flip|fliplr|flipud|"
    r"rot90|roll|take|masked_select|masked_scatter|scatter|scatter_add|scatter_reduce|index_put|"
    r"index_copy|index_add|repeat|tile|repeat_interleave|grid_sample|unique"
)
_declared: set[Any] = set()


def declare(function: Any) -> None:
    """Takes a function or a module class into those that keep the places of their first argument.

    Args:
        function: as `torch.overrides` hands it out, or a class of modules.
    """
    _declared.add(function)


def is_declared(function: Any) -> bool:
    """Whether a function or a module class was declared to keep places.

    Args:
        function: any.
    """
    try:
        known = function in _declared or getattr(function, "overloadpacket", None) in _declared
    except TypeError:  # not hashable
        return False
    overloads = getattr(function, "overloads", None)
    return known or (overloads is not None and any(getattr(function, name) in _declared for name in overloads()))


def reason_lost(name: str, func: Any) -> str:
    """Why a tensor has no place in the image after a function, in words; empty where its shape alone was the reason.

    Args:
        name: bare name of the function.
        func: the function, or a class of modules.
    """
    if _REORDERING.fullmatch(name.removesuffix("_")):
        return f"its positions were reordered or selected by {name}"
    known = (_PIECES, _ARRANGING, PRODUCTS, CONVOLUTIONS, REDUCTIONS, RESIZING, TRANSFORMS)
    if name in VIEWS or name in PERMUTATIONS or is_copy(name) or is_elementwise(name, func):
        return ""
    if any(pattern.fullmatch(name) for pattern in known):
        return ""
    return f"{name} is not known to keep positions (if it does, visionscope.keeps_axes declares it)"


def is_elementwise(name: str, func: Any) -> bool:
    """Whether each value of a function's result lies where the values lay that it was computed from.

    Args:
        name: bare name of the function.
        func: the function.
    """
    bare = name.removesuffix("_")
    return bool(ELEMENTWISE.fullmatch(bare) or NORMALIZING.fullmatch(bare)) or is_declared(func)


def is_split(name: str) -> bool:
    """Whether the function cuts a tensor into pieces along one axis.

    Args:
        name: of the function.
    """
    return _PIECES.fullmatch(name) is not None
