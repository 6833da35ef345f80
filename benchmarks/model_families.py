"""Traces and watches one model of every family of timm, torchvision and Hugging Face; writes docs/models_tested.md.

About ten minutes on one core. Expected: points everywhere, the output bit-equal with and without the watch, no model
touched. `--rows FILE` keeps finished rows, so that a broken run goes on where it stopped.
"""

import argparse
import collections
import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
import transformers
from timm.data import resolve_model_data_config
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionscope.tracing import Trace, trace, watch

ROOT = Path(__file__).parent.parent
MEMORY = 4 * 2**30  # bytes of weights; what is larger is traced without being run

# The smallest model, by parameters, of each of timm's model files.
TIMM = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "efficientnet_b0",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_base_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "ecaresnet26t",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "aimv2_1b_patch14_224",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
TORCHVISION_RUN = (
    "vit_b_16",
    "regnet_y_400mf",
    "resnet18",
    "swin_t",
    "convnext_tiny",
    "maxvit_t",
    "mobilenet_v3_small",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One line of the page.

    Attributes:
        source: timm, torchvision or transformers.
        family: model file, or the family's name.
        model: as its library calls it.
        points: how many default points.
        found_by: sums or blocks.
        sums: residual sums seen.
        unwatched: of these, how many can't be watched.
        reasons: why.
        kinds: how often each kind occurs.
        stages: how many.
        equal: whether the output is bit-equal with and without the watch; None where it was not run.
        untouched: whether weights, flags and hooks are as before; None where it was not run.
        note: why it was not run.
    """

    source: str
    family: str
    model: str
    points: int
    found_by: str
    sums: int
    unwatched: int
    reasons: tuple[str, ...]
    kinds: dict[str, int]
    stages: int
    equal: bool | None = None
    untouched: bool | None = None
    note: str = ""


def output_of(value: object) -> Tensor:
    """The class scores in whatever a model returns."""
    return value if isinstance(value, Tensor) else value.logits  # type: ignore[attr-defined]


def fingerprint(model: nn.Module) -> list[object]:
    """What would change if the model were written to: versions and places of tensors, flags, hooks."""
    tensors = [*model.parameters(), *model.buffers()]
    modules = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), sorted(vars(module)))
        for module in model.modules()
    ]
    return [[(tensor._version, tensor.data_ptr(), tensor.requires_grad) for tensor in tensors], modules]


class QuickWeights(TorchFunctionMode):
    """Draws large tensors uniformly from [-0.05, 0.05], whatever was asked for: drawing would outlast the passes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function, or its cheap replacement."""
        name = getattr(func, "__name__", "")
        large = bool(args) and isinstance(args[0], Tensor) and args[0].numel() > 4096
        if large and name == "erfinv_":
            return args[0]
        if large and name in {"uniform_", "normal_"}:
            return args[0].uniform_(-0.05, 0.05)
        return func(*args, **(kwargs or {}))


def with_quick_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """A model in eval mode whose large weights are cheap to draw."""
    with QuickWeights():
        return build().eval()


def compare(model: nn.Module, size: tuple[int, ...]) -> tuple[Trace, bool, bool]:
    """Traces, then runs with and without a watch: the trace, whether outputs are bit-equal and the model untouched."""
    images = torch.randn(1, *size, generator=torch.Generator().manual_seed(0))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            plain = output_of(model(images))  # first, so that what a model caches by itself is there
            before = fingerprint(model)
            found = trace(model, images)
            handed: list[str] = []
            with watch(model, found, lambda point, maps: handed.append(point.name), found.all_points):
                watched = output_of(model(images))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    same = torch.allclose(plain, watched, rtol=0, atol=0, equal_nan=True)
    complete = sorted(handed) == sorted(point.name for point in found.all_points)
    return found, same and complete, fingerprint(model) == before


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """A model to be traced only; on the meta device unless its constructor computes with tensors (regnets)."""
    try:
        with torch.device("meta"):
            return build().eval()
    except NotImplementedError:
        return with_quick_weights(build)


def outcome(
    source: str, family: str, name: str, build: Callable[[], nn.Module], size: tuple[int, ...], run: bool
) -> Outcome:
    """One line: traced on the meta device, and run where it fits."""
    shadow = without_weights(build)
    weights = sum(parameter.numel() * 4 for parameter in shadow.parameters())
    note = "" if run else "traced only"
    equal = untouched = None
    if run and weights > MEMORY:
        note = f"not run: {weights / 2**30:.1f} GiB of weights"
    if note:
        found = trace(shadow, torch.zeros(1, *size, device=next(shadow.parameters()).device))
    else:
        torch.manual_seed(0)
        found, equal, untouched = compare(with_quick_weights(build), size)
    without = [one.stream.name for one in found.residuals if one.stream.grid == (0, 0)]
    why = {lost.name: lost.reason for lost in found.unwatched}
    return Outcome(
        source=source,
        family=family,
        model=name,
        points=len(found.points),
        found_by="sums" if any(site.role == "sum" for site in found.sites.values()) else "blocks",
        sums=found.sums,
        unwatched=len(without),
        reasons=tuple(sorted({"no grid" if "has no grid" in why[name] else "grid lost" for name in without})),
        kinds=dict(collections.Counter(str(point.kind) for point in found.points)),
        stages=max(point.stage for point in found.points),
        equal=equal,
        untouched=untouched,
        note=note,
    )


def timm_size(name: str) -> tuple[int, ...]:
    """Channels, height and width of a timm model's images."""
    with torch.device("meta"):
        return tuple(resolve_model_data_config(timm.create_model(name))["input_size"])


def torchvision_size(name: str) -> tuple[int, ...]:
    """Channels, height and width that a torchvision model's weights were trained for; its code fixes some of them."""
    return (3, 299, 299) if name == "inception_v3" else (3, 256, 256) if name.startswith("swin_v2") else (3, 224, 224)


def hugging_face(fields: dict[str, object]) -> nn.Module:
    """An image classifier from the fields of a small configuration."""
    rest = dict(fields)
    config = transformers.AutoConfig.for_model(str(rest.pop("model_type")), **rest)
    model: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return model


def cases() -> Iterator[tuple[str, str, str, Callable[[], nn.Module], Callable[[], tuple[int, ...]], bool]]:
    """Source, family, model, how to build it, its image size, and whether to run it."""
    for family, name in TIMM.items():
        yield "timm", family, name, lambda name=name: timm.create_model(name), lambda name=name: timm_size(name), True
    for name in torchvision.models.list_models(module=torchvision.models):
        options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
        build = lambda name=name, options=options: torchvision.models.get_model(name, weights=None, **options)  # noqa: E731
        yield "torchvision", name, name, build, lambda name=name: torchvision_size(name), name in TORCHVISION_RUN
    golden = json.loads((ROOT / "tests" / "golden" / "hf_kinds.json").read_text())["models"]
    for family, written in golden.items():
        side = written["config"].get("image_size", 64)
        build = lambda fields=written["config"]: hugging_face(fields)  # noqa: E731
        yield "transformers", family, "small configuration", build, lambda side=side: (3, side, side), True


def page(rows: list[Outcome]) -> str:
    """The documentation page."""
    sums, unwatched = sum(row.sums for row in rows), sum(row.unwatched for row in rows)
    ran = [row for row in rows if row.equal is not None]
    lines = [
        "# Models tested",
        "",
        "Written by `python benchmarks/model_families.py`; do not edit by hand.",
        "",
        f"timm {timm.__version__} (the smallest model of each of its model files),"
        f" torchvision {torchvision.__version__} (every classification model),"
        f" transformers {transformers.__version__} (small configurations).",
        "",
        f"- {len(rows)} models traced; {sum(row.found_by == 'sums' for row in rows)} give points by residual sums,"
        f" {sum(row.found_by == 'blocks' for row in rows)} by blocks.",
        f"- {sums} residual sums seen, {unwatched} of them can't be watched (no grid: class tokens alone).",
        f"- {len(ran)} models run: output bit-equal with and without the watch in"
        f" {sum(bool(row.equal) for row in ran)}, left untouched in {sum(bool(row.untouched) for row in ran)}.",
        "",
    ]
    for source in ("timm", "torchvision", "transformers"):
        lines += [
            f"## {source}",
            "",
            "| family | model | points by | points | stages | sums | unwatched | kinds | bit-equal | untouched |",
            "|---|---|---|---:|---:|---:|---|---|---|---|",
        ]
        for row in rows:
            if row.source == source:
                kinds = ", ".join(f"{count} {kind}" for kind, count in row.kinds.items())
                lost = f"{row.unwatched} ({', '.join(row.reasons)})" if row.unwatched else "0"
                equal, untouched = (
                    {True: "yes", False: "NO", None: row.note}[value] for value in (row.equal, row.untouched)
                )
                lines.append(
                    f"| {row.family} | {row.model} | {row.found_by} | {row.points} | {row.stages} | {row.sums} | {lost}"
                    f" | {kinds} | {equal} | {untouched} |"
                )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measures what is not measured yet and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path(os.devnull), help="JSON lines of finished rows")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "models_tested.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    stored = arguments.rows.read_text().splitlines() if arguments.rows.is_file() else []
    done = {(row["source"], row["family"]): Outcome(**row) for row in map(json.loads, stored)}
    for source, family, name, build, size, run in cases():
        if (source, family) not in done:
            done[source, family] = outcome(source, family, name, build, size(), run)
            with arguments.rows.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(done[source, family])) + "\n")
        print(done[source, family], flush=True)
    arguments.page.write_text(page(list(done.values())))


if __name__ == "__main__":
    main()
