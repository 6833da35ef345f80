"""Counts one model of every family and compares: torch's counter, halved, and fvcore's, operation by operation.

About ten minutes on one core; `--rows FILE` keeps finished rows, so that a broken run goes on where it stopped.
Expected: no model refused; convolutions, products and attention equal to torch's everywhere. fvcore traces real
tensors, so only models up to a few GMACs are given to it.
"""

import argparse
import collections
import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Measurement, publish
from benchmarks.model_families import cases, output_of, with_quick_weights, without_weights
from visionscope.building.counting import Operation, count
from visionscope.errors import ConfigError
from visionscope.tracing.record import module_calls

MOST = 3 * 10**9  # MACs of a model that fvcore is given

# What fvcore counts by formulas of the same meaning, by the kind that is ours.
FVCORE = {
    "conv": "convolution",
    **dict.fromkeys(("addmm", "bmm", "mm", "matmul", "linear", "einsum"), "products"),
    "adaptive_avg_pool2d": "pooling and sums",
    "upsample_bilinear2d": "resampling",
    "grid_sampler": "resampling",
}
OURS = {
    "convolution": "convolution",
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "mv", "dot", "addbmm"), "products"),
    **dict.fromkeys(
        ("avg_pool2d", "_adaptive_avg_pool2d", "mean", "sum", "nansum", "cumsum", "col2im"), "pooling and sums"
    ),
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler_2d"), "resampling"
    ),
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), "resampling"),
    **dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), "Fourier"),
}


class Scores(nn.Module):
    """A model that returns the scores alone, as a trace by fvcore needs it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The class scores."""
        return output_of(self.model(images))


def by_kind(operations: Mapping[str, Operation]) -> dict[str, int]:
    """Multiply-accumulates of convolutions, products and so on."""
    kinds: collections.Counter[str] = collections.Counter()
    for name, operation in operations.items():
        if operation.macs:
            kinds[OURS[name]] += operation.macs
    return dict(kinds)


def torchs(model: nn.Module, images: Tensor) -> float:
    """Half of what torch counts, without fused encoder layers."""
    with module_calls(lambda *_: None, lambda *_: None), FlopCounterMode(display=False) as theirs, torch.no_grad():
        model(images)
    return float(theirs.get_total_flops() / 2)


def fvcores(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Multiply-accumulates by kind as fvcore counts them, or why it does not; norms, which count there, are left out.

    Args:
        model: on the CPU, since fvcore's tracing fails on meta.
        images: there, too.
    """
    from fvcore.nn import FlopCountAnalysis

    analysis = (
        FlopCountAnalysis(Scores(model), (images,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    )
    kinds: collections.Counter[str] = collections.Counter()
    try:
        for name, macs in analysis.by_operator().items():
            if name in FVCORE:
                kinds[FVCORE[name]] += int(macs)
    except Exception as error:  # a peer that fails on a model is a row like any other
        return {"error": f"{type(error).__name__}: {error}".partition("\n")[0][:160]}
    return dict(kinds)


def row(source: str, family: str, name: str, build: Any, size: Any) -> dict[str, Any]:
    """One model: ours, torch's, fvcore's."""
    found: dict[str, Any] = {"source": source, "family": family, "model": name}
    try:
        model = without_weights(build)
        images = torch.zeros(1, *size(), device=next(model.parameters()).device)
        try:
            counter = count(model, images)
        except ConfigError:
            raise
        except Exception:  # code that runs on real tensors only
            model = with_quick_weights(build)
            images = torch.zeros(1, *size())
            counter = count(model, images)
    except ConfigError as error:
        return {**found, "refused": str(error)}
    except Exception as error:  # a crash is what this looks for
        return {**found, "refused": f"{type(error).__name__}: {error}"[:300]}
    found |= {"device": str(images.device), "macs": counter.macs, "traffic": counter.traffic}
    found |= {"ours": by_kind(counter.operations), "torch": torchs(model.requires_grad_(False), images)}
    if counter.macs > MOST:
        return {**found, "fvcore": {"error": "not given to it"}}
    model = model if images.device.type == "cpu" else with_quick_weights(build)
    return {**found, "fvcore": fvcores(model, torch.zeros(images.shape))}


def run(kept: Path | None = None) -> list[Measurement]:
    """Every family; a line of JSON each, then the counts."""
    warnings.simplefilter("ignore")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    set_fused_attn(False)  # fvcore does not count attention in one piece
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    done = {(one["source"], one["family"]) for one in rows}
    for source, family, name, build, size, _ in cases():
        if (source, family) in done:
            continue
        rows.append(row(source, family, name, build, size))
        print(json.dumps(rows[-1]), flush=True)
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(rows[-1]) + os.linesep)
    return summary(rows)


def summary(rows: list[dict[str, Any]]) -> list[Measurement]:
    """How many models there are, how many are refused, and where the counters differ."""
    refused = [one for one in rows if "refused" in one]
    counted = [one for one in rows if "refused" not in one]
    exact = {one["model"]: sum(one["ours"].get(kind, 0) for kind in ("convolution", "products")) for one in counted}
    torch_differs = [one for one in counted if exact[one["model"]] != one["torch"]]
    failed = [one for one in counted if "error" in one["fvcore"] and one["macs"] <= MOST]
    beside = [one for one in counted if "error" not in one["fvcore"]]
    differs = {
        kind: [one for one in beside if one["ours"].get(kind, 0) != one["fvcore"].get(kind, 0)]
        for kind in ("convolution", "products", "resampling", "pooling and sums")
    }
    missed = [one["macs"] / one["torch"] - 1 for one in counted]
    return [
        Measurement(name="models", unit="models", value=len(rows), note=f"timm {timm.__version__}"),
        Measurement(
            name="refused",
            unit="models",
            value=len(refused),
            goal=0,
            note="; ".join(f"{one['model']}: {one['refused']}" for one in refused),
        ),
        Measurement(
            name="convolutions and products other than torch's",
            unit="models",
            value=len(torch_differs),
            goal=0,
            note="; ".join(f"{one['model']} {exact[one['model']]} {one['torch']:.0f}" for one in torch_differs),
        ),
        Measurement(name="largest part that torch counts as 0", unit="share of torch's", value=max(missed)),
        Measurement(name="compared with fvcore", unit="models", value=len(beside)),
        Measurement(name="fvcore fails", unit="models", value=len(failed), note=_named(failed)),
        *(
            Measurement(name=f"{kind} other than fvcore's", unit="models", value=len(ones), note=_compared(kind, ones))
            for kind, ones in differs.items()
        ),
    ]


def _named(rows: list[dict[str, Any]]) -> str:
    return ", ".join(one["model"] if one["source"] != "transformers" else one["family"] for one in rows)


def _compared(kind: str, rows: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{one['model']} ({one['family']}) {one['ours'].get(kind, 0)} {one['fvcore'].get(kind, 0)}" for one in rows
    )


def main() -> None:
    """Counts all families."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, help="file of finished rows")
    publish("costs", run(parser.parse_args().rows))


if __name__ == "__main__":
    main()
