"""Attention written out, so that its probabilities can be read."""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


def fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """`F.scaled_dot_product_attention` as its documentation writes it out, in at least float32."""
    if enable_gqa:
        key, value = (one.repeat_interleave(query.shape[-3] // one.shape[-3], -3) for one in (key, value))
    with torch.autocast(query.device.type, enabled=False):
        high = torch.promote_types(query.dtype, torch.float32)
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query.to(high) * factor) @ key.to(high).transpose(-2, -1)
        if is_causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(hidden, -math.inf)
        if attn_mask is not None:
            shown = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if shown else scores + attn_mask
        probabilities = scores.softmax(-1)
        kept = F.dropout(probabilities, dropout_p) if dropout_p else probabilities
        return (kept @ value.to(high)).to(value.dtype), probabilities


def multi_head(func: Any, args: Any, kwargs: Any) -> tuple[Any, Tensor]:
    """The multi-head attention of torch, asked for the weights of each head."""
    asked = MULTI_HEAD.bind(*args, **kwargs)
    asked.apply_defaults()
    wanted, averaged = asked.arguments["need_weights"], asked.arguments["average_attn_weights"]
    asked.arguments.update(need_weights=True, average_attn_weights=False)
    output, probabilities = func(*asked.args, **asked.kwargs)
    shown = probabilities.mean(1) if averaged else probabilities
    return (output, shown if wanted else None), probabilities


def fused_values(*args: Any, **kwargs: Any) -> Tensor:
    """The values (..., keys, channels) that fused attention is given, one set per head of the queries."""
    given = inspect.signature(fused).bind(*args, **kwargs).arguments
    value: Tensor = given["value"]
    if given.get("enable_gqa"):
        return value.repeat_interleave(given["query"].shape[-3] // value.shape[-3], -3)
    return value


def multi_head_values(*args: Any, **kwargs: Any) -> Tensor:
    """The values (batch, heads, keys, channels) of the multi-head attention of torch, which projects them itself."""
    given = MULTI_HEAD.bind(*args, **kwargs)
    given.apply_defaults()
    asked = given.arguments
    width, bias = asked["embed_dim_to_check"], asked["in_proj_bias"]
    weight = asked["v_proj_weight"] if asked["use_separate_proj_weight"] else asked["in_proj_weight"][2 * width :]
    projected = F.linear(asked["value"], weight, None if bias is None else bias[2 * width :])
    return projected.reshape(*projected.shape[:2], asked["num_heads"], -1).permute(1, 2, 0, 3)
