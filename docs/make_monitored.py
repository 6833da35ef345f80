"""Keeps what a monitor saw of a training, and draws it: `python docs/make_monitored.py NAME RUN`.

RUN is the folder that `visionscope train NAME --monitor fourier,token_similarity,hessian,sharpness --out RUN` wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

HERE = Path(__file__).parent
OUT = HERE / "monitored"
SIZE = (11, 6.2)


def main() -> None:
    """Copies the rows of one training, and draws them."""
    name, run = sys.argv[1], Path(sys.argv[2])
    (folder,) = (run / "train").glob("*/monitor.parquet")
    OUT.mkdir(exist_ok=True)
    pd.read_parquet(folder).to_parquet(OUT / f"{name}.parquet", index=False)
    draw(name)


def draw(name: str) -> None:
    """Draws what is kept of one training.

    Args:
        name: of the network.
    """
    rows = pd.read_parquet(OUT / f"{name}.parquet")
    figure, panels = plt.subplots(2, 3, figsize=SIZE, sharex=True, layout="constrained")
    by_point(panels[0, 0], rows, "fourier", "High frequencies of feature maps", "log-amplitude against frequency 0")
    by_point(panels[0, 1], rows, "token_similarity", "Similarity of tokens", "mean cosine")
    hessian = rows[rows["diagnostic"] == "hessian"]
    trajectory(panels[0, 2], hessian, "NEP", "Negative eigenvalues", "% of the largest")
    for column in ("largest", "smallest"):
        trajectory(panels[1, 0], hessian, column, "Hessian eigenvalues", "nat per squared weight", label=column)
    panels[1, 0].legend(frameon=False)
    critical = panels[1, 1]
    trajectory(critical, rows, "critical sharpness", "Along the optimizer's update", "critical sharpness (1 / update)")
    critical.axhline(2, color="grey", linewidth=0.8, linestyle="--")
    critical.set_yscale("log")
    trajectory(panels[1, 2], rows, "nll", "NLL of the monitor's images", "nat")
    for panel in panels[1]:
        panel.set_xlabel("epoch")
    figure.suptitle(f"{name} on a part of CIFAR-10, one seed")
    figure.savefig(HERE / "images" / f"monitored_{name}.png", dpi=90)


def by_point(panel: Axes, rows: pd.DataFrame, diagnostic: str, title: str, label: str) -> None:
    """A line for each point, from the first (dark) to the last (light)."""
    own = rows[(rows["diagnostic"] == diagnostic) & (rows["column"] == "value") & (rows["point"] != "")]
    points = own["point"].drop_duplicates().tolist()
    for place, point in enumerate(points):
        line = own[own["point"] == point]
        colour = mpl.colormaps["viridis"](place / max(len(points) - 1, 1))
        panel.plot(
            line["epoch"],
            line["value"],
            color=colour,
            linewidth=1.2,
            label=point if place in (0, len(points) - 1) else None,
        )
    panel.set(title=title, ylabel=label)
    panel.legend(fontsize=8, framealpha=0.7)


def trajectory(panel: Axes, rows: pd.DataFrame, column: str, title: str, unit: str, label: str | None = None) -> None:
    """One number against the epoch."""
    own = rows[(rows["column"] == column) & (rows["point"] == "")]
    panel.plot(own["epoch"], own["value"], marker="o", markersize=3, label=label)
    panel.set(title=title, ylabel=unit)


if __name__ == "__main__":
    main()
