"""Top-k and cross-entropy written down image by image in float64, as an independent twin of training.evaluation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def scores(
    logits: NDArray[np.float64], targets: Sequence[dict[int, float]], classes: int, k: int
) -> tuple[float, float, float]:
    """Top-1, top-k and NLL in nats; each target is a share per class, the rest are 0."""
    first = among = 0
    nll = []
    for row, target in zip(logits, targets, strict=True):
        # Largest first, the lower class first where two are equal.
        ranking = sorted(range(classes), key=lambda c: (-row[c], c))
        dominant = max(target, key=lambda c: (target[c], -c))
        first += ranking[0] == dominant
        among += dominant in ranking[:k]
        top = max(row)
        log_sum = top + np.log(sum(np.exp(value - top) for value in row))
        nll.append(sum(share * (log_sum - row[c]) for c, share in target.items()))
    return first / len(nll), among / len(nll), float(np.mean(nll))
