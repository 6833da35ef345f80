"""Trains a small ResNet and a small ViT for a moment, looks inside both, and shows how differently they treat an image.

Takes less than a minute on one core and needs no download: `python examples/resnet_vs_vit.py [FOLDER]`.
Expect every attention block of the ViT to lower the high frequencies relative to the mean, every MLP to raise variance.
"""

import sys
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import visionscope as vs
from visionscope.api import Result

STEPS = 40
IMAGES = 128


def trained(name: str) -> nn.Module:
    """A network after a few steps on drawn shapes: far from good, but no longer random."""
    loaded = vs.load_model(name, random_weights=0)
    sample = vs.Sample(vs.open_source("embedded:train"), loaded.input, images=64 * STEPS, seed=1)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=2e-3, weight_decay=0.05)
    loaded.model.train()
    for batch in sample.batches(batch_size=64):
        loss = nn.functional.cross_entropy(loaded.model(batch.images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{name}: loss {loss.item():.2f} after {STEPS} steps, ln 10 = 2.30 would be guessing")
    return loaded.model.eval()


def changes(result: Result) -> pd.DataFrame:
    """What the blocks of each kind change, as a median, and at how many of them the change is negative."""
    table = result.to_pandas()
    if "high_frequency" in table:
        table = table[table.high_frequency]
    table = table[table.change.notna() & table.kind.isin(["msa", "mlp", "conv"])]
    grouped = table.groupby("kind").change
    return pd.DataFrame(
        {"median change": grouped.median(), "lowered": grouped.apply(lambda x: f"{(x < 0).sum()} of {len(x)}")}
    )


def main(folder: Path) -> None:
    """Tells the story and writes a picture per model and question."""
    for name in ("resnet_nano", "vit_nano"):
        model = trained(name)
        # Where a map can be looked at: after each residual sum, found by running the model once.
        found = vs.points(model, size=(32, 32))
        print(f"{name} has {len(found)} points: {', '.join(point.name for point in found[:4])}, ...")

        # The same frozen images for every question.
        sample = vs.Sample(vs.open_source("embedded"), vs.load_model(name, random_weights=0).input, IMAGES)
        answers = {"fourier": vs.fourier(model, sample), "variance": vs.variance(model, sample)}
        for question, result in answers.items():
            print(f"\n{question} of {name}\n{changes(result).to_string(float_format='{:+.3f}'.format)}")

        answers["similarity"] = vs.similarity(model, sample)
        cka = answers["similarity"].to_pandas()
        far = cka[(cka.point_x == found[0].name) & (cka.point_y == found[-1].name)].iloc[0]
        print(f"\nCKA of the first and the last point of {name}: {far.cka:.2f} +- {far.standard_error:.2f}\n")

        for question, result in answers.items():
            result.paper_figure().savefig(folder / f"{name}-{question}.png", bbox_inches="tight")
    print(f"figures: {folder}/*.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
