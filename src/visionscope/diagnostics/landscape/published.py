"""The landscapes that the authors published, as rows."""

import pyarrow as pa

from visionscope.core.table import to_table, with_leading_of
from visionscope.data import published
from visionscope.diagnostics.landscape.question import LandscapeRow


def published_landscape(name: str) -> pa.Table:
    """One of the two landscapes that the authors published, as rows to be drawn beside one's own.

    `Landscape().figure(pa.concat_tables([own, published_landscape("ViT-Ti")]))`, with `own` as `Store.table` gives it.
    Of the L2 term only the official, un-squared convention was published.

    Args:
        name: `ResNet-50` or `ViT-Ti`.

    Raises:
        ConfigError: for another name.
    """
    rows = [
        LandscapeRow(
            part=f"row-{index // 21:02d}",
            plane="random",
            normalization="official",
            draw=0,
            x=place.x,
            y=place.y,
            place="",
            nll=place.nll,
            l2=None,
            l2_official=published.WEIGHT_DECAY * place.norms,
            accuracy=place.accuracy,
            images=published.IMAGES,
            measured="all",
            frozen=0,
            bf16_error=None,
            augmentation="strong, drawn anew at each place",
            batch_norm="kept" if name == "ResNet-50" else "none",
            weight_decay=published.WEIGHT_DECAY,
            label_smoothing=published.LABEL_SMOOTHING,
        )
        for index, place in enumerate(published.published_places(name))
    ]
    leading = {"model": f"{name} (published)", "data": "CIFAR-100", "weights": "of the authors", "precision": "fp32"}
    first = {**leading, "job": f"published {name}"}
    return with_leading_of(to_table(LandscapeRow, rows), [first] * len(rows))
