"""Which numbers a training computes with, and how attention goes with them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from visionscope.errors import ConfigError, nearest

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself; emulated, they are slower than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_precision(name: str) -> str:
    """The precision in Lightning Fabric's words.

    Args:
        name: `32`, `bf16`, `fp16`, or `auto`: bf16 where the GPU or the processor computes in it, else fp16 on a GPU
            and 32 on a processor.

    Raises:
        ConfigError: for another name.
    """
    if name == "auto":
        gpu = torch.cuda.is_available()
        narrow = torch.cuda.is_bf16_supported() if gpu else computes_bf16()
        name = "bf16" if narrow else "fp16" if gpu else "32"
    if name not in PRECISIONS:
        choices = ("auto", *PRECISIONS)
        raise ConfigError(f"precision: must be one of {', '.join(choices)}; got {name!r}.{nearest(name, choices)}")
    return PRECISIONS[name]


def attention(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Attention as it is fastest: in bfloat16 on the CPU the products written out, else as torch chooses.

    torch's fused attention takes five times as long backwards there.

    Args:
        precision: from `choose_precision`.
        device: of the model.
    """
    written_out = precision == PRECISIONS["bf16"] and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if written_out else nullcontext()
