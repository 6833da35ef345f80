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
