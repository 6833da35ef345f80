"""The one reviewed table of class names: modules whose operations alone would give the wrong kind."""

import dataclasses

from visionscope.core.subject import Kind


@dataclasses.dataclass(frozen=True)
class KindException:
    """One row: what the branch is called, and why its operations say otherwise.

    Attributes:
        kind: what the literature calls the branch.
        reason: what the operations look like.
    """

    kind: Kind
    reason: str


_MIXED_MLP = KindException(
    Kind.MLP, "a feed-forward block with a depthwise convolution between its linear layers (MixFFN)"
)

EXCEPTIONS: dict[str, KindException] = {
    "MlpWithDepthwiseConv": _MIXED_MLP,
    "PvtV2ConvFeedForwardNetwork": _MIXED_MLP,
    "SegformerMixMLP": _MIXED_MLP,
    "EfficientAdditiveAttention": KindException(
        Kind.MSA, "tokens are mixed by a weighted sum and gates, without a product of two activations"
    ),
}
