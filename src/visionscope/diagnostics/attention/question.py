"""How far, how widely and how differently the heads of self-attention look (Dosovitskiy et al. 2021, Fig. 7)."""

import dataclasses
from typing import Any, ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import first_images
from visionscope.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class AttentionRow:
    """One head of one point over the images of a part, or the mean over the point's heads."""

    part: str = column("span of images, or the one image, that it was measured with", role="hidden")
    images: int = column("images in the means", role="count")
    point: str = column("name of the point")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    head: int | None = column("number of the head, from 0; null for the mean over the point's heads")
    heads: int = column("heads that could be read at the point")
    reach: str = column("what a query can look at: global, windows or shifted windows", role="convention")
    tokens: int = column(
        "keys of one query, prefix tokens included; of the largest attention for the mean over heads", role="convention"
    )
    prefix_tokens: int = column("class, distillation and register tokens among them")
    distance: float | None = column("mean distance between query and key under the attention", "pixels of the input")
    distance_deviation: float | None = column("sum over images of squared deviations from it", "pixels²")
    diagonal: float = column("of the input image", "pixels")
    uniform_distance: float | None = column("the same distance if all keys were looked at alike", "pixels")
    entropy: float | None = column("of a query's distribution over its keys, mean over queries", "nat")
    entropy_deviation: float | None = column("sum over images of squared deviations from it", "nat²")
    entropy_share: float | None = column("entropy / log(tokens)")
    diversity: float | None = column("1 - cosine similarity with the point's other heads, mean over them; null for one")
    diversity_deviation: float | None = column("sum over images of squared deviations from it")
    mutual_information: float | None = column(
        "of query and key, normalised: 0 where all queries look alike, 1 where each looks at one key of its own"
    )
    mutual_information_deviation: float | None = column("sum over images of squared deviations from it")
    sink_share: float | None = column("share of all attention that the most attended token gets", percent=True)
    sink_share_deviation: float | None = column("sum over images of squared deviations from it")
    sink_is_prefix: float | None = column(
        "share of images in which that token is a class or register token; null without any", percent=True
    )
    sink_value_norm: float | None = column(
        "norm of that token's value / mean norm of all; null where values are unknown"
    )
    sink_value_norm_deviation: float | None = column("sum over images of squared deviations from it")
    image: int | None = column("position of the one image in the sample; null for spans")
    map: tuple[float, ...] = column(
        "of the one image: attention that each place receives, row by row from the top", packed=True
    )
    map_width: int = column("places in a row of the map; 0 without a map")
    map_of: str = column("whose attention the map shows: class token, or mean over queries")
    note: str = column("why a value is missing")


@later(
    measure=("parts", "cost", "measure"),
    results=("summary", "comparisons", "outcomes"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionHeads:
    """How far, how evenly and how diversely heads attend.

    Attention of msa points, head by head: distance, entropy, head diversity, mutual information and sinks.

    Mean attention distance is `sum_k p_qk |x_q - x_k|` in pixels of the input, averaged over the grid's queries and
    over images (Dosovitskiy et al. 2021, Fig. 7 and 11; Raghu et al. 2021, Fig. 1). Prefix tokens lie nowhere: they ask
    nothing here, and what is given to them is left out and the rest divided by its sum. Windows lie where they do on
    the image, shifted ones too: where one wraps around the image's edge, its two sides are far apart, and the reference
    of looking everywhere alike takes them for two windows, as the models' masks do. Keys on a coarser grid lie at the
    centre of what they cover. Padding counts neither as query nor, but for entropy, as key.

    Entropy is `-sum_k p_qk log p_qk` over all keys, prefix tokens included. Diversity of a head is the mean over the
    other heads and all queries of 1 - cosine similarity of their distributions; Chen et al. 2022 (The Principle of
    Diversity) compare whole flattened maps, in which queries that look sharply outweigh the others.

    Mutual information is I(q; k) / sqrt(H(q) H(k)) of a query drawn evenly and the key it looks at, both with a place,
    window by window (Park et al. 2023, What Do Self-Supervised Vision Transformers Learn?): 0 is attention that does
    not depend on the query. A sink is the token that gets most attention, `max_k mean_q p_qk` over all keys, prefix
    tokens included, in each window; its value norm is `|v_k|` of the head over its mean over keys. Sinks of language
    models have small values (Gu et al. 2025, When Attention Sink Emerges in Language Models); 1 is an ordinary token.

    Linear and cross-covariance attention, and class tokens that ask alone, have no such distributions over places: a
    note says so.

    Attributes:
        sample_size: how many images of the sample.
        image: position in the sample of one image whose maps are kept and drawn; none by default.
        map_point: name of the point whose maps are drawn; the last by default.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "attention"
    version: ClassVar[int] = 2
    row: ClassVar[type] = AttentionRow
    sample: ClassVar[str] = "eval"
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 3
    needs_logits: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    image: int | None = rule(None, least=0, most=MOST_IMAGES)
    map_point: str = rule("", longest=1000)

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.image is not None and self.image >= self.sample_size:
            raise ConfigError(
                f"attention.image: must be 0 to {self.sample_size - 1}, below sample_size; got {self.image}"
            )

    def identity(self) -> dict[str, Any]:
        # Asking for the map of an image computes that image alone.
        return {"sample_size": self.sample_size}

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)
