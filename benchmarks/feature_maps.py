"""Fourier, variance and similarity of one pass, in units of a bare forward pass, against the notebooks and torch-cka.

F is one fp32 forward pass of the same 16 images in the same process and round; weights are random. About four minutes
on one core.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.measure import Measurement, cpu_seconds, ratios
from visionscope.core.diagnostic import Observer, ObservingDiagnostic
from visionscope.core.subject import Point
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.variance.question import Variance
from visionscope.tracing import Trace, trace, watch

MODELS = ("resnet50", "vit_tiny_patch16_224")
BATCH = 16  # and images per CKA group
ROUNDS = 5
ALL = (Fourier(), Variance(), Similarity(group=BATCH))


def run() -> list[Measurement]:
    rows: list[Measurement] = []
    for name in MODELS:
        rows += _cost(name)
        rows += _agreement(name)
    return rows


def _cost(name: str) -> list[Measurement]:
    model, images, found = setting(name)
    shares: dict[str, list[float]] = {diagnostic.name: [] for diagnostic in ALL}
    with torch.inference_mode():
        functions = {
            "F": lambda: model(images),
            "all": lambda: _observe(model, images, found, ALL, shares),
            **_low_precision(name, model, images, found),
            "notebook fourier": lambda: _notebook_fourier(model, images, found),
            "notebook variance": lambda: _notebook_variance(model, images, found),
            "torch-cka": lambda: _torch_cka(model, images, found),
        }
        times = cpu_seconds(functions, ROUNDS)
    times |= {name: own[1:] for name, own in shares.items()}
    times["rest"] = [whole - sum(own) for whole, *own in zip(times["all"], *(times[d.name] for d in ALL), strict=True)]
    of = ratios(times, "F")
    peers = {key: of[key][0] for key in ("notebook fourier", "notebook variance", "torch-cka")}
    peers["their sum"] = sum(peers.values())

    def row(what: str, key: str, **more: object) -> Measurement:
        return Measurement(name=f"{name}: {what}", unit="F", value=of[key][0], spread=of[key][1], **more)

    where = f"{len(found.points)} points, F = {sorted(times['F'])[ROUNDS // 2]:.3g} s for {BATCH} images"
    return [
        row("all three, fp32", "all", peers=peers, goal=1.2, note=where),
        row("  the pass and watching", "rest"),
        *(row(f"  {diagnostic.name}", diagnostic.name) for diagnostic in ALL),
        row("all three, bf16 autocast", "bf16 all", peers=peers, goal=0.7),
        row("bare forward, bf16 autocast", "bf16 bare", note="what is left of the goal where the processor has no AMX"),
    ]


def _low_precision(name: str, model: nn.Module, images: Tensor, found: Trace) -> dict[str, Callable[[], object]]:
    layout = torch.channels_last if name.startswith("resnet") else torch.contiguous_format
    twin = timm.create_model(name, pretrained=False).eval().to(memory_format=layout)
    twin.load_state_dict(model.state_dict())
    given = images.contiguous(memory_format=layout)

    def bare() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            twin(given)

    def everything() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _observe(twin, given, found, ALL)

    return {"bf16 bare": bare, "bf16 all": everything}


def _agreement(name: str) -> list[Measurement]:
    """Our numbers and the peers', of the same images; the peers' arithmetic in float64 on the float32 maps."""
    model, images, found = setting(name)
    with torch.inference_mode():
        fourier, variance, similarity = _observe(model, images, found, ALL)
        theirs = [
            torch.cat(_notebook_fourier(model, images, found, torch.float64)),
            _notebook_variance(model, images, found, torch.float64),
        ]
        matrix = _torch_cka(model, images, found, torch.float64)
        single = _torch_cka(model, images, found)
    ours = torch.tensor([row.delta_log_amplitude for row in fourier.rows()])
    variances = torch.tensor([row.variance for row in variance.rows()])
    assert matrix is not None
    ckas = torch.tensor([row.cka for row in similarity.rows()], dtype=torch.float64).view_as(matrix)
    wrong = "stops at NaN" if single is None else f"is off by {float((single - matrix).abs().max()):.1g}"
    return [
        Measurement(
            name=f"{name}: largest difference to {peer}",
            unit=unit,
            value=float(difference.abs().max()),
            goal=goal,
            note=note,
        )
        for peer, unit, difference, goal, note in (
            ("the notebook's fourier", "natural log", ours - theirs[0], 1e-5, ""),
            ("the notebook's variance", "relative", variances / theirs[1] - 1, 1e-6, ""),
            ("torch-cka 0.21", "CKA", ckas - matrix, 1e-4, f"in float64; in float32 it {wrong}"),
        )
    ]


def setting(name: str) -> tuple[nn.Module, Tensor, Trace]:
    """A network with random weights, a batch of noise and the points."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    images = torch.randn(BATCH, 3, 224, 224)
    return model, images, trace(model, images)


def _observe(
    model: nn.Module,
    images: Tensor,
    found: Trace,
    diagnostics: tuple[ObservingDiagnostic, ...],
    shares: dict[str, list[float]] | None = None,
) -> list[Observer]:
    """One pass over a batch; `shares` receives the CPU time of each diagnostic's updates."""
    observers = [diagnostic.observer(found.points) for diagnostic in diagnostics]
    seconds = [0.0] * len(observers)
    positions = torch.arange(len(images))

    def feed(point: Point, maps: Tensor) -> None:
        for index, observer in enumerate(observers):
            began = time.process_time()
            observer.update(point, maps, positions)
            seconds[index] += time.process_time() - began

    with watch(model, found, feed):
        model(images)
    for diagnostic, share in zip(diagnostics, seconds, strict=True):
        if shares is not None:
            shares[diagnostic.name].append(share)
    return observers


def _latents(model: nn.Module, images: Tensor, found: Trace) -> list[Tensor]:
    """The notebooks' way: keep every feature map of the pass."""
    latents: list[Tensor] = []
    with watch(model, found, lambda point, maps: latents.append(maps)):
        model(images)
    return latents


def _notebook_fourier(
    model: nn.Module, images: Tensor, found: Trace, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    deltas = []
    for latent in _latents(model, images, found):
        amplitude = (torch.fft.fft2(latent.to(dtype)).abs() + 1e-6).log()
        height, width = amplitude.shape[-2:]
        amplitude = amplitude.roll((height // 2, width // 2), dims=(-2, -1)).mean(dim=(0, 1))
        half = amplitude.diagonal()[height // 2 :]
        deltas.append(half - half[0])
    return deltas


def _notebook_variance(model: nn.Module, images: Tensor, found: Trace, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.stack([latent.to(dtype).var(dim=(2, 3)).mean() for latent in _latents(model, images, found)])


def _torch_cka(model: nn.Module, images: Tensor, found: Trace, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """The package's matrix; None where it stops at a NaN of its own, which it finds after all the work."""
    from torch_cka import CKA

    names = [f"taps.{index}" for index in range(len(found.points))]
    replay = _Taps(model, found, dtype)
    torch.set_default_dtype(dtype)  # the only way to have it compute in float64
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            peer = CKA(replay, replay, "x", "y", names, names)
            peer.compare(DataLoader([(image, 0) for image in images], batch_size=BATCH))
    except AssertionError:
        return None
    finally:
        torch.set_default_dtype(torch.float32)
    return peer.export()["CKA"]


class _Taps(nn.Module):
    """Every point of a network as the output of a module, which is all that torch-cka can hook."""

    def __init__(self, model: nn.Module, found: Trace, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.model = model
        self.taps = nn.ModuleList(nn.Identity() for _ in found.points)
        self._found = found
        self._index = {point.name: index for index, point in enumerate(found.points)}

    def forward(self, images: Tensor) -> Tensor:
        with watch(
            self.model, self._found, lambda point, maps: self.taps[self._index[point.name]](maps.to(self._dtype))
        ):
            return self.model(images)


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallows torch-cka's progress bar."""
    kept, sys.stderr = sys.stderr, open("/dev/null", "w")  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = kept
