"""The columns in front of a row on one point's feature maps."""

import dataclasses

from visionscope.core.table import column


@dataclasses.dataclass(frozen=True)
class PointRow:
    """Where a point lies, and over how many images it was looked at; a diagnostic's row adds what was measured."""

    point: str = column("name of the point")
    kind: str = column("what the point's branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    grid_height: int = column("height of the feature map", "positions")
    grid_width: int = column("width of the feature map", "positions")
    channels: int = column("channels of the feature map")
    images: int = column("images in the mean", role="count")
