"""Tables of a screening as a run folder has them, made without a network."""

import numpy as np
import pandas as pd

from visionscope.experiments.mixers.choosing import SCREENING
from visionscope.experiments.reading import experiment_from_file
from visionscope.models.mixers.mixer import mixer_kinds


def mixer_tables(seeds=(0, 1), random_state=0):
    """Every network of the screening with accuracies around 60 %, MACs around 8 M and a change at both slots."""
    random = np.random.default_rng(random_state)
    trained, fourier = [], []
    shift = {seed: random.normal(0, 0.004) for seed in seeds}
    for variant in experiment_from_file(SCREENING, data="embedded").variants:
        kind = mixer_kinds().get(variant.name)
        mean = 0.60 + random.normal(0, 0.01) + (0.01 if kind is not None and kind.data_specific else 0)
        low_pass = {"always": -0.5, "can be": -0.2, "never": 0.1}[kind.low_pass] if kind else -0.3
        gmacs = 0.008 + random.normal(0, 0.0004)
        for seed in seeds:
            keys = {"variant": variant.name, "seed": seed, "snapshot": "last"}
            right = mean + shift[seed] + random.normal(0, 0.004)
            trained.append({**keys, "model": variant.model, "top_1": right, "nll": 1.2, "nll_train": 1.3,
                            "gmacs": gmacs, "parameters": 202_000, "error": 1 - right})  # fmt: skip
            for stage in (0, 1, 2):
                for block in (0, 1, 2)[: 2 if stage == 0 else 3]:
                    slot = stage > 0 and block == 2
                    change = (low_pass + 0.1 * stage if slot else 5.0) + random.normal(0, 0.01)
                    rows = {**keys, "point": f"stages.{stage}.blocks.{block}+conv", "change": change}
                    fourier += [{**rows, "high_frequency": True}, {**rows, "change": 9.0, "high_frequency": False}]
    return {"training": pd.DataFrame(trained), "fourier": pd.DataFrame(fourier)}
