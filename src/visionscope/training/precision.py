"""Which numbers a training computes with, and how attention goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionscope.errors import ConfigError, nearest
from visionscope.training.recipe import PRECISIONS


def computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself; emulated, they are slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_precision(name: str) -> str:
    """The precision in Lightning Fabric's words.

    Args:
        name: `fp32`, `bf16`, `fp16`, or `auto`: bf16 where the GPU or the processor computes in it, else fp16 on a GPU
            and fp32 on a processor.

    Raises:
        ConfigError: for another name.
    """
    if name == "auto":
        gpu = torch.cuda.is_available()
        narrow = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else computes_bf16()
        name = "bf16" if narrow else "fp16" if gpu else "fp32"
    if name not in PRECISIONS:
        choices = ("auto", *PRECISIONS)
        raise ConfigError(f"precision: must be one of {', '.join(choices)}; got {name!r}.{nearest(name, choices)}")
    return PRECISIONS[name]


@contextmanager
def attention(precision: str, device: torch.device) -> Iterator[None]:
    """Attention as it is fastest: in bfloat16 on the CPU the products written out, else as torch chooses.

    torch's fused attention takes five times as long backwards there. Written out, torch would first turn queries, keys
    and values into float32; kept in bfloat16, as in every other product under autocast, a step of ViT-Ti takes
    30 % less time, and its gradient's error (1 %) is the same.

    Args:
        precision: from `choose_precision`.
        device: of the model.
    """
    if precision != PRECISIONS["bf16"] or device.type != "cpu":
        yield
        return
    # Of the CPU, too, despite its name.
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)
