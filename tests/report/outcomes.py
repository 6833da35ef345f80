"""Invented outcomes, image by image, as the diagnostics of damage and trust store them."""

import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from PIL import Image

from report import samples
from report.telling import answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.figure import Figure, Panel, Picture
from visionscope.core.finding import Finding
from visionscope.diagnostics.adversarial.question import Adversarial
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.fit.question import Fit
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.rows import bits
from visionscope.diagnostics.shape_bias.question import ShapeBias

IMAGES = 400
CONFLICTING = ("cat", "dog", *(f"other {number}" for number in range(14)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damaged:
    """One invented model: of its clean right images, how many percentage points each condition loses."""

    label: str
    clean: float = 80.0
    losses: Mapping[object, float] = dataclasses.field(default_factory=dict)
    sample: str = "5a5a5a5a5a5a"
    weights: str = "trained"
    kinds: Mapping[object, str] = dataclasses.field(default_factory=dict)
    spread: int = 0
    classes: int = 10

    def right(self, loss: float = 0.0) -> np.ndarray:
        """(IMAGES,) the first are right; a loss turns the last of them wrong, `spread` of them only swap places."""
        flags = np.zeros(IMAGES, dtype=bool)
        flags[: round(IMAGES * (self.clean - loss) / 100)] = True
        if loss and self.spread:
            flags[: self.spread] = False
            flags[-self.spread :] = True
        return flags


def table(diagnostic: object, rows: Sequence[dict[str, object]]) -> dict[str, pa.Table]:
    """Rows of a diagnostic, by its name."""
    return {diagnostic.name: samples.as_table(diagnostic.row, rows)}


def told(found: Mapping[str, pa.Table]) -> list[Finding]:
    """What diagnostics say of their rows."""
    return [one for answer in answers_of(found) for one in answer.findings]


def figure(diagnostic: object, found: Mapping[str, pa.Table]) -> Figure:
    """What a diagnostic draws of its rows."""
    return diagnostic.figure(found[diagnostic.name])


def _row(model: Damaged, loss: float = 0.0) -> dict[str, object]:
    leading = samples.leading(samples.vit(model.label, weights=model.weights, blocks=1))
    own = {"part": "0000-0256", "sample": model.sample, "start": 0, "images": IMAGES}
    return {**leading, **own, "right": bits(model.right(loss)), "nll": 1.0 + loss / 50, "classes": model.classes}


def lesions(models: Sequence[Damaged]) -> dict[str, pa.Table]:
    """`losses` by (stage, number) of branches, `kinds` with the same keys."""
    rows = []
    for model in models:
        intact = {"unit": "", "kind": "", "stage": 0, "depth": 0.0, "how": "nothing removed", "calls": ""}
        rows.append({**_row(model), **intact, "other_unit": "", "mode": "branch"})
        for place, ((stage, number), loss) in enumerate(model.losses.items()):
            kind = model.kinds.get((stage, number), "conv")
            own = {"unit": f"layers.{stage}.{number}+{kind}", "other_unit": "", "mode": "branch", "kind": kind}
            depth = place / max(1, len(model.losses) - 1)
            rows.append(
                {**_row(model, loss), **own, "stage": stage, "depth": depth, "how": "skip operand", "calls": ""}
            )
    return table(Lesion(), rows)


def noise(models: Sequence[Damaged], *, eps: Sequence[float] = (), energy: str = "equal_energy") -> dict[str, pa.Table]:
    """`losses` by frequency; `eps` of each model, 0.7 by default."""
    rows = []
    for model, strength in zip(models, eps or (0.7,) * len(models), strict=True):
        none = {"frequency": None, "low": None, "high": None, "noise": "none", "eps": 0.0, "energy": "none"}
        rows.append(
            {**_row(model), **none, "space": "none", "eps_in_pixels": 0.0, "share": 0.0, "coverage": 0.9, "rms": 0.0}
        )
        for frequency, loss in model.losses.items():
            ring = {"frequency": frequency, "low": frequency - 0.05, "high": frequency + 0.05}
            how = {
                "noise": "sign",
                "eps": strength,
                "eps_in_pixels": strength / 4,
                "energy": energy,
                "space": "normalised",
            }
            rows.append({**_row(model, loss), **ring, **how, "share": 0.1, "coverage": 0.9, "rms": 0.2})
    return table(FrequencyNoise(), rows)


def heatmap(models: Sequence[Damaged]) -> dict[str, pa.Table]:
    """`losses` by frequency (i, j) on images of 32 x 32."""
    rows = []
    for model in models:
        for (i, j), loss in {(None, None): 0.0, **model.losses}.items():
            at = {
                "row_frequency": i,
                "column_frequency": j,
                "height": 32,
                "width": 32,
                "norm": 0.0 if i is None else 4.0,
            }
            rows.append({**_row(model, loss), **at})
    return table(FourierHeatmap(), rows)


def corruptions(
    models: Sequence[Damaged], *, origin: str = "torch-uncertainty 0.9", paired: bool = True
) -> dict[str, pa.Table]:
    """`losses` by type, the same at severities 1 and 5."""
    rows = []
    for model in models:
        cells = {("", 0): 0.0, **{(kind, severity): loss for kind, loss in model.losses.items() for severity in (1, 5)}}
        for (kind, severity), loss in cells.items():
            own = {"corruption": kind, "severity": severity, "origin": origin, "paired": paired, "picture": ""}
            rows.append({**_row(model, loss), **own})
    return table(Corruption(), rows)


def attacks(models: Sequence[Damaged]) -> dict[str, pa.Table]:
    """`losses` by (attack, eps)."""
    rows = []
    for model in models:
        for (attack, eps), loss in {("none", 0.0): 0.0, **model.losses}.items():
            how = {"steps": 1, "step": eps, "begins": "image", "library": "none" if attack == "none" else "kept 1.0"}
            rows.append({**_row(model, loss), "attack": attack, "eps": eps, **how})
    return table(Adversarial(), rows)


def calibrations(
    models: Sequence[Damaged], *, confidence: Sequence[float], scaled: Sequence[float]
) -> dict[str, pa.Table]:
    """Every image as confident as said, before and after the temperature."""
    rows = []
    for model, *levels in zip(models, confidence, scaled, strict=True):
        right = model.right()
        for (scaling, temperature), level in zip((("none", 1.0), ("temperature", 1.5)), levels, strict=True):
            noisy = level + 0.02 * np.sin(np.arange(IMAGES))
            own = {"scaling": scaling, "temperature": temperature, "fit_images": 100, "bins": 10, "classes": 10}
            nll = np.where(right, -np.log(noisy), -np.log((1 - noisy) / 9))
            per_image = {"confidence": noisy, "cross_entropy": nll, "brier": (1 - noisy) ** 2}
            per_image |= {"label": np.zeros(IMAGES), "predicted": np.where(right, 0.0, 1.0)}
            by_class = {"class_probability": (1.0,) * 100, "class_images": (1.0,) * 100, "top_5": bits(right)}
            lists = {name: tuple(map(float, values)) for name, values in per_image.items()}
            rows.append({**_row(model), **own, **lists, **by_class})
    return table(Calibration(), rows)


def fits(models: Sequence[Damaged], *, nll: Sequence[float]) -> dict[str, pa.Table]:
    """NLL_train as said, with a small spread; test errors from `clean`."""
    rows = []
    for model, level in zip(models, nll, strict=True):
        for split, middle in (("train", level), ("eval", 1.0)):
            values = middle + 0.1 * np.sin(np.arange(IMAGES))
            own = {"split": split, "augmentation": "strong" if split == "train" else "none", "targets": "labels"}
            more = {"label_smoothing": 0.0, "fraction": None, "cross_entropy": tuple(map(float, values))}
            rows.append({**_row(model), **own, **more, "sample": f"{split}-{model.sample}"[:12]})
    return table(Fit(), rows)


def conflicts(models: Sequence[Damaged], *, shape: Sequence[int], texture: Sequence[int]) -> dict[str, pa.Table]:
    """The first images are decided for their shape, the last for their texture."""
    rows = []
    for model, shapes, textures in zip(models, shape, texture, strict=True):
        place = np.arange(IMAGES)
        own = {"right": bits(place < shapes), "texture": bits(place >= IMAGES - textures)}
        how = {"shapes": bytes([index % 2 for index in range(IMAGES)]).hex()}
        rows.append(
            {**_row(model), **own, **how, "classes": CONFLICTING, "decision": "between the classes of the head"}
        )
    return table(ShapeBias(), rows)


def attentions(labels: Sequence[str], *, distances: Sequence[float], deviation: float = 40.0) -> dict[str, pa.Table]:
    """Two heads at each point, a pixel to either side of the mean."""
    rows = []
    for label in labels:
        for place, distance in enumerate(distances):
            for head, value in ((0, distance - 1), (1, distance + 1), (None, distance)):
                leading = samples.leading(samples.vit(label, blocks=1, weights="trained"))
                where = {"point": f"blocks.{place}+msa", "stage": 1, "depth": place / max(1, len(distances) - 1)}
                look = {"head": head, "heads": 2, "reach": "global", "tokens": 65, "prefix_tokens": 1}
                measures = {"distance": value, "entropy": 3.0, "entropy_share": 0.7, "diversity": 0.4}
                measures |= {"mutual_information": 0.3, "sink_share": 0.2, "sink_value_norm": 0.5}
                spread = {f"{name}_deviation": deviation for name in measures if name != "entropy_share"}
                rest = {
                    "diagonal": 45.3,
                    "uniform_distance": 16.0,
                    "sink_is_prefix": 0.9,
                    "image": None,
                    "map": (),
                    "map_width": 0,
                }
                own = {"part": "0000-0256", "images": 256, "map_of": "", "note": ""}
                rows.append({**leading, **where, **look, **measures, **spread, **rest, **own})
    return table(AttentionHeads(), rows)


def sheet(side: int = 0) -> Panel:
    """A contact sheet of 2 x 2 plain pictures; or of 15 x 5 with that many pixels a side, ever noisier ones."""
    kinds = ("fog", "snow") if not side else tuple(f"type {number}" for number in range(15))
    severities = (1, 5) if not side else (1, 2, 3, 4, 5)
    pictures = tuple(
        tuple(Picture(png=_png(side, place * severity / 2), title=f"{kind} {severity}") for severity in severities)
        for place, kind in enumerate(kinds)
    )
    return Panel(model="", title="Contact sheet", x_label="", y_label="", pictures=pictures)


def _png(side: int, noise: float) -> bytes:
    image = Image.new("RGB", (8, 8), (200, 80, 40))
    if side:
        slope = np.linspace(40, 200, side)[:, None, None] + np.linspace(-30, 30, side)[None, :, None]
        speckled = slope + noise * np.random.default_rng(0).standard_normal((side, side, 3))
        image = Image.fromarray(np.clip(speckled, 0, 255).astype(np.uint8))
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return stored.getvalue()


def everything() -> tuple[list[Answer], list[dict[str, object]]]:
    """Answers and jobs of two models in nearly all diagnostics, more than a page shows unfolded."""
    models = [samples.vit(blocks=2), samples.resnet(blocks=(1, 1))]
    names = [model.label for model in models]
    rings = [dict(zip((0.1, 0.5, 0.9), costs, strict=True)) for costs in ((30.0, 5.0, 0.25), (0.25, 5.0, 30.0))]
    damaged = [Damaged(label=name, losses=losses) for name, losses in zip(names, rings, strict=True)]
    units = {(1, 0): 20.0, (1, 1): 0.25}
    kinds = {"fog": 20.0, "snow": 5.0}
    found = [
        samples.tables(models),
        lesions([Damaged(label=name, losses=units, kinds={(1, 0): "msa", (1, 1): "mlp"}) for name in names]),
        noise(damaged),
        corruptions([Damaged(label=name, losses=kinds) for name in names]),
        attacks([Damaged(label=name, losses={("pgd", 1.0): 20.0, ("pgd", 2.0): 40.0}) for name in names]),
        calibrations(damaged, confidence=(0.95, 0.6), scaled=(0.8, 0.8)),
        fits(damaged, nll=(1.0, 1.5)),
        conflicts(damaged, shape=(150, 60), texture=(50, 140)),
        attentions(names[:1], distances=(6, 9, 12)),
    ]
    answers = answers_of({name: table for tables in found for name, table in tables.items()})
    for place, one in enumerate(answers):
        if one.diagnostic == "corruption":
            (drawn,) = one.figures
            shown = dataclasses.replace(drawn, panels=(*drawn.panels, sheet()))
            answers[place] = dataclasses.replace(one, figures=(shown,))
    left_out = [{"diagnostic": "attention", "reason": f"{names[1]}: has no self-attention"}]
    jobs = [{**job, "not_applicable": left_out * (job["model"]["label"] == names[1])} for job in samples.jobs(models)]
    return answers, jobs
