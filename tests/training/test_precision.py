"""Which products attention is made of."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from visionscope.training.precision import attention, choose_precision


class _Products(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.bmm.default:
            self.types.append(args[0].dtype)
        return function(*args, **(kwargs or {}))


def test_attention_in_bfloat16_multiplies_in_bfloat16() -> None:
    query = torch.randn(2, 3, 5, 8, dtype=torch.bfloat16, requires_grad=True)
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with attention(choose_precision("bf16"), torch.device("cpu")), _Products() as products:
        F.scaled_dot_product_attention(query, query, query).sum().backward()
    assert products.types == [torch.bfloat16] * 6
    assert torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed() == before


@pytest.mark.parametrize(("precision", "device"), [("fp32", "cpu"), ("bf16", "cuda")])
def test_elsewhere_torch_chooses(precision: str, device: str) -> None:
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(), torch.backends.cuda.flash_sdp_enabled()
    with attention(choose_precision(precision), torch.device(device)):
        now = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(), torch.backends.cuda.flash_sdp_enabled()
    assert now == before
