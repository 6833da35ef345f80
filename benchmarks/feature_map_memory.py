"""Peak memory of Fourier, variance and similarity over that of a bare forward pass, for few and for more images.

Every number is the peak resident memory of a fresh process. About three minutes on one core.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.feature_maps import ALL, BATCH, MODELS, setting
from benchmarks.measure import Measurement, peak_memory
from visionscope.core.subject import Point
from visionscope.tracing import watch

FEW, MANY = 64, 256


def run() -> list[Measurement]:
    rows = []
    for name in MODELS:
        peaks = {
            (what, images): peak_memory("benchmarks.feature_map_memory", name, what, str(images))
            for what, images in (("bare", FEW), ("bare", MANY), ("all", FEW), ("all", MANY), ("notebook", FEW))
        }
        label = f"{name}: peak over a bare pass"
        for images in (FEW, MANY):
            others = {"notebook": peaks["notebook", FEW] - peaks["bare", FEW]} if images == FEW else {}
            over = peaks["all", images] - peaks["bare", images]
            rows.append(Measurement(name=f"{label}, {images} images", unit="MB", value=over, peers=others))
        growth = peaks["all", MANY] - peaks["all", FEW]
        note = f"bare pass {peaks['bare', MANY] - peaks['bare', FEW]:.1f}; batch and group {BATCH}"
        rows.append(
            Measurement(name=f"{name}: growth from {FEW} to {MANY}", unit="MB", value=growth, goal=15, note=note)
        )
    return rows


def _measured_process(name: str, what: str, count: int) -> None:
    """Runs in a fresh process: batch by batch, images drawn as they are needed; prints peak resident memory in kB."""
    torch.set_num_threads(1)
    model, images, found = setting(name)
    observers = [diagnostic.observer(found.points) for diagnostic in ALL] if what == "all" else []
    latents: list[Tensor] = []
    positions = torch.arange(0)

    def feed(point: Point, maps: Tensor) -> None:
        if what == "notebook":
            latents.append(maps)
        for observer in observers:
            observer.update(point, maps, positions)

    with torch.inference_mode():
        for start in range(0, count, BATCH):
            positions = torch.arange(start, start + BATCH)
            images.normal_()
            with watch(model, found, feed):
                model(images)
    status = Path("/proc/self/status").read_text()  # not getrusage, whose maximum a child inherits from its parent
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    _measured_process(sys.argv[1], sys.argv[2], int(sys.argv[3]))
