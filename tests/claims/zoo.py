"""Tables of networks in which claims over networks hold as far as they are told to."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

ATTENTION, CONVOLUTION = ("msa", "mlp"), ("conv",)


def zoo(
    effects: Mapping[str, Sequence[float]], *, kinds: Sequence[str] = ATTENTION, stages: int = 1
) -> dict[str, pd.DataFrame]:
    """Networks by family, with the change of high frequencies at their branches.

    Args:
        effects: of each family, a number per network: what MLPs and convolutions raise, and attention lowers.
        kinds: of the branches, in turn.
        stages: that the branches are spread over.
    """
    networks, points, fourier = [], [], []
    for family, own in effects.items():
        for place, effect in enumerate(own):
            name = f"{family}-{place}"
            networks.append({"network": name, "family": family})
            for number in range(6 * len(kinds)):
                kind, depth = kinds[number % len(kinds)], (number + 1) / (6 * len(kinds))
                one = {"variant": name, "network": name, "family": family, "seed": 0, "snapshot": "last", "kind": kind}
                stage = 1 + int((number / (6 * len(kinds))) * stages)
                points.append({**one, "stage": stage, "diagnostic": "fourier"})
                change = -effect if kind == "msa" else effect
                marks = {"depth": depth, "high_frequency": True, "follows": "before", "change_note": ""}
                fourier.append({**one, **marks, "change": change})
    return {"networks": pd.DataFrame(networks), "points": pd.DataFrame(points), "fourier": pd.DataFrame(fourier)}


def labelled(
    rows: Mapping[str, tuple[float, float]], kinds: Mapping[str, Sequence[str]], *, accuracy: float = 0.8
) -> dict[str, pd.DataFrame]:
    """Networks of one family each under noise.

    Args:
        rows: of each network, what noise of low and of high frequency costs, in percent of the accuracy above chance.
        kinds: of each network's branches.
        accuracy: of all on clean images; guessing gets 0.1.
    """
    points, noise = [], []
    for name, (low, high) in rows.items():
        one = {"variant": name, "network": name, "family": name, "seed": 0, "snapshot": "last"}
        points += [{**one, "kind": kind, "stage": 1, "diagnostic": "frequency_noise"} for kind in kinds[name]]
        for frequency, lost in ((np.nan, 0.0), (0.2, low), (0.8, high)):
            change = -lost * (accuracy - 0.1)
            told = {"frequency": frequency, "change": change, "accuracy": accuracy + change / 100, "chance": 0.1}
            noise.append({**one, **told, "images": 1000, "energy": "equal_energy", "eps_in_pixels": 0.16})
    networks = pd.DataFrame([{"network": name, "family": name} for name in rows])
    return {
        "networks": networks,
        "points": pd.DataFrame(points),
        "frequency_noise_summary": pd.DataFrame(noise),
    }
