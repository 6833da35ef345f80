"""Tables of an experiment as they are stored, made without a network: the worlds of the claims with all columns."""

import numpy as np
import pandas as pd

from claims.worlds import world

EXTRA = {"vit_dim_8": 0.4, "vit_large": 0.2, "resnet_large": 0.0, "preresnet": 0.1, "alternet": 0.2}
EPOCHS = {"vit_epochs_3": 3.0, "vit_epochs_6": 6.0, "vit": 12.0, "resnet_epochs_6": 6.0, "resnet": 12.0}


def tables(seeds: int = 3) -> dict[str, pd.DataFrame]:
    """All tables that the figures read."""
    found = world(holds=True, seeds=range(seeds))
    noise = np.random.default_rng(0)
    found["hessian"] = found["hessian"].assign(
        converged=True, scope="model", mini_batch=0, rank=1, images=16, augmentation="weak", batch_norm="eval",
        weight_decay=0.05, measured="all", frozen=0, unused=0, parameters=1000,
    )  # fmt: skip
    pieces = [found["hessian"]]
    for variant in ("vit_gap", "vit_sixteenth", "convvit_3", "convvit_global", "vit_heads_1", "vit_patch_2", "swin"):
        pieces.append(found["hessian"][found["hessian"]["variant"] == "vit"].assign(variant=variant))
    found["hessian"] = pd.concat(pieces, ignore_index=True)
    shares = found["hessian_summary"]
    pieces = [shares[shares["variant"] == "vit"].assign(variant=name, negative_share=v) for name, v in EXTRA.items()]
    found["hessian_summary"] = pd.concat([shares, *pieces], ignore_index=True)
    trained = found["training"]
    trained = pd.concat([trained, *_more(trained)], ignore_index=True)
    epochs = trained["variant"].map(EPOCHS).fillna(12.0)
    jitter = noise.normal(0, 0.01, len(trained))
    found["training"] = trained.assign(error=1 - trained["top_1"] + jitter, epoch=epochs, parameters=1000)
    found["curves"] = pd.concat(
        [trained[["variant", "seed", "snapshot"]].assign(epoch=float(at), loss=2.0 / at) for at in (1, 2, 3)]
    )
    fourier = found["fourier"]
    found["fourier"] = pd.concat(
        [
            fourier.assign(frequency=at, delta_log_amplitude=-at - fourier["depth"], high_frequency=at == 1.0)
            for at in (0.5, 1.0)
        ],
        ignore_index=True,
    )
    found["lesion_summary"]["unit"] = found["lesion_summary"]["depth"].map("{:.3f}".format)
    found["calibration_bins"] = _bins(found["calibration_summary"])
    ends = trained[trained["variant"].isin(["vit", "resnet", "alternet", "preresnet"])]
    found["corruption_summary"] = ends[["variant", "seed", "snapshot"]].assign(
        corruption="all", accuracy=ends["top_1"] - 0.2
    )
    grid = [(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)]
    found["landscape"] = pd.DataFrame(
        [
            {
                "variant": name,
                "seed": 0,
                "snapshot": "last",
                "draw": 0,
                "place": "",
                "x": x,
                "y": y,
                "nll": x * x + y * y,
            }
            for name in ("resnet", "vit")
            for x, y in grid
        ]
    )
    return found


def _bins(summary: pd.DataFrame) -> pd.DataFrame:
    """Bins above 0.2 with the excess of the summary; each seed's accuracy is shifted by a hundredth of the seed."""
    excess = summary["signed_ece"] - 0.01 * summary["seed"]
    pieces = [
        summary.assign(low=low, images=20, confidence=low + 0.05, accuracy=low + 0.05 - excess)
        for low in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    ]
    return pd.concat(pieces, ignore_index=True).drop(columns="signed_ece")


def _more(trained: pd.DataFrame) -> list[pd.DataFrame]:
    like = {"resnet_half": "resnet", "resnet_sixteenth": "vit_sixteenth", "vit_gap": "vit", "vit_patch_2": "vit"}
    like |= {
        "vit_epochs_3": "vit_quarter",
        "vit_epochs_6": "vit_half",
        "resnet_epochs_6": "vit",
        "convvit_global": "vit",
    }
    return [trained[trained["variant"] == old].assign(variant=new) for new, old in like.items()]
