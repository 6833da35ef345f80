"""What watching costs: forward passes with an empty callback at all default points against bare ones, in turns.

About three minutes on one core. Expected: 0 to 5 % over a bare pass, the output bit-equal.
"""

from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.tracing import trace, watch

MODELS = {
    "ViT-Ti": "vit_tiny_patch16_224",
    "ResNet-50": "resnet50",
    "Swin-T": "swin_tiny_patch4_window7_224",
    "MaxViT-T": "maxvit_tiny_tf_224",
}
BATCH, ROUNDS = 8, 7


def passes(model: nn.Module, images: Tensor) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """A bare forward pass and a watched one."""
    found = trace(model, images)

    def bare() -> Tensor:
        with torch.inference_mode():
            return model(images)

    def watched() -> Tensor:
        with torch.inference_mode(), watch(model, found, lambda point, maps: None):
            return model(images)

    return bare, watched


def run() -> list[Measurement]:
    """One line per model: CPU time of a watched pass over a bare one, 224 px, and whether the outputs are bit-equal."""
    rows = []
    for label, name in MODELS.items():
        torch.manual_seed(0)
        bare, watched = passes(timm.create_model(name).eval(), torch.randn(BATCH, 3, 224, 224))
        equal = torch.equal(bare(), watched())
        # The bare pass a second time: what two equal programs differ by here and now.
        times = cpu_seconds({"bare": bare, "watched": watched, "bare again": bare}, ROUNDS)
        found = ratios(times, "bare")
        value, spread = found["watched"]
        rows.append(
            Measurement(
                name=f"{label}, watched over bare",
                unit="CPU time of a bare forward pass",
                value=value,
                spread=spread,
                peers={"bare again": found["bare again"][0]},
                goal=1.05,
                note=f"batch {BATCH}, output {'bit-equal' if equal else 'DIFFERS'}",
            )
        )
    return rows
