"""How far, how widely and how differently heads look: laws, twins, pooling, maps, refusals."""

import dataclasses
import functools
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reference.attention import dependence, grid_places, measures, uniform_grid_distance, vit_attention, vit_pass
from running.networks import normalized
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.models.windows import LocalAttention
from visionscope.numerics.attention import head_diversity, mean_distance, mean_entropy, uniform_distance
from visionscope.tracing import trace, watch

SIZE = (16, 24)
NUMBERS = (
    *("distance", "entropy", "diversity"),
    *("mutual_information", "sink_share", "sink_is_prefix", "sink_value_norm"),
)
DEPENDENCE = ("Dependence on the query", "Attention sinks", "Values of sinks")


@dataclasses.dataclass
class Images:
    images: torch.Tensor
    labels: torch.Tensor | None = None
    digest: str = "fixed"

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], None, own)


def vit(**changes):
    torch.manual_seed(0)
    asked = {"img_size": SIZE, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 4}
    model = VisionTransformer(**{**asked, **changes}).double().eval()
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight)  # sharp enough for heads to differ
    return model


class Local(nn.Module):
    """Windows of 3 on a map of 5 x 7, twice: padding, and no class token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.first, self.second = (LocalAttention(8, num_heads=2, head_dim=4, window_size=3) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        x = self.stem(images)
        x = x + self.first(x)
        x = x + self.second(x)
        return self.head(x.mean((2, 3)))


def subject(model, images, precision="fp64"):
    found = trace(model, images[:2])
    return Subject(
        label="m",
        model=model,
        points=found.points,
        watch=functools.partial(watch, model, found),
        samples={"eval": Images(images)},
        precision=precision,
        input=InputConfig(size=tuple(images.shape[-2:]), mean=(0.5,) * 3, std=(0.5,) * 3),
        trace=found,
    )


def drawn(count, size=SIZE):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def measured(given_to, **fields):
    asked = AttentionHeads(**fields)
    parts = asked.parts(given_to)
    return {part: rows for part, rows in asked.measure(given_to, parts)}


def table(rows, model="m"):
    first = {**dict.fromkeys(LEADING, "?"), "model": model}
    return with_leading_of(to_table(AttentionHeads.row, rows), [first] * len(rows))


def everywhere(windows, tokens):
    return torch.ones(windows, tokens, dtype=torch.bool)


def lengths_of(places):
    return torch.tensor([[math.dist(a, b) for b in places] for a in places], dtype=torch.float64)[None]


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 4), (7, 7)])
def test_uniform_attention_has_known_distance_and_entropy(grid):
    places, count = grid_places(grid, (60, 84)), grid[0] * grid[1]
    lengths, all_of_them = lengths_of(places), everywhere(1, count)
    even = torch.full((2, 1, 3, count, count), 1 / count, dtype=torch.float64)
    expected = uniform_grid_distance(grid, (60, 84))
    assert mean_distance(even, lengths, all_of_them, all_of_them).flatten().tolist() == pytest.approx([expected] * 6)
    everything = torch.ones(1, count, count, dtype=torch.bool)
    assert uniform_distance(lengths, all_of_them, all_of_them, everything) == pytest.approx(expected)
    assert mean_entropy(even, all_of_them).flatten().tolist() == pytest.approx([math.log(count)] * 6, abs=1e-12)
    assert head_diversity(even, all_of_them).abs().max() < 1e-12


def test_attention_to_oneself_has_none_of_either():
    places = grid_places((3, 4), (12, 16))
    alone = torch.eye(12, dtype=torch.float64)[None, None, None]
    seen = everywhere(1, 12)
    assert float(mean_distance(alone, lengths_of(places), seen, seen)) == 0
    assert float(mean_entropy(alone, seen)) == 0


def test_heads_that_share_no_key_are_as_unlike_as_can_be():
    heads = torch.stack([torch.eye(12).roll(shift, 0) for shift in range(4)])[None, None].double()
    assert head_diversity(heads, everywhere(1, 12)).flatten().tolist() == pytest.approx([1] * 4)
    heads[0, 0, 1] = heads[0, 0, 0]
    # The twins each share all keys with one of three others.
    assert head_diversity(heads, everywhere(1, 12)).flatten().tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**16),
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_the_measures_are_those_of_the_slow_twin_and_within_their_bounds(seed, grid, heads, prefix):
    places, count = grid_places(grid, (24, 20)), grid[0] * grid[1]
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, 1, heads, count + prefix, count + prefix, generator=generator, dtype=torch.float64) * 4
    probabilities, seen = scores.softmax(-1), everywhere(1, count)
    asked = probabilities[..., prefix:, :]
    distance = mean_distance(asked[..., prefix:], lengths_of(places), seen, seen)
    entropy = mean_entropy(asked, seen)
    expected = np.array(measures(probabilities[0, 0].tolist(), places, prefix))
    np.testing.assert_allclose(distance[0], expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(entropy[0], expected[:, 1], rtol=1e-10, atol=1e-12)
    assert bool((distance <= math.hypot(24, 20)).all())
    assert bool((entropy <= math.log(count + prefix) + 1e-12).all())
    if heads > 1:
        diversity = head_diversity(asked, seen)
        np.testing.assert_allclose(diversity[0], expected[:, 2], rtol=1e-9, atol=1e-12)
        assert bool(((diversity > -1e-12) & (diversity <= 1 + 1e-12)).all())


def test_what_goes_to_the_prefix_alone_has_no_distance():
    places = grid_places((1, 2), (8, 16))
    probabilities = torch.tensor([[0.0, 0.0], [0.5, 0.5]], dtype=torch.float64)[None, None, None]
    seen = everywhere(1, 2)
    assert float(mean_distance(probabilities, lengths_of(places), seen, seen)) == 4.0


def test_a_vit_has_the_measures_of_the_slow_twin():
    model, images = vit(), drawn(3)
    rows = measured(subject(model, images))["0000-0003"]
    with torch.no_grad():
        maps, values, _ = vit_pass(model, images)
    places = grid_places((2, 3), SIZE)
    assert [(row.point, row.head) for row in rows] == [
        (f"blocks.{block}+msa", head) for block in (0, 1) for head in (0, 1, 2, None)
    ]
    for row in rows:
        block = int(row.point[7])
        looked = np.array([measures(own.tolist(), places, 1) for own in maps[block]])
        bound = [dependence(p.tolist(), 1, v.tolist()) for p, v in zip(maps[block], values[block], strict=True)]
        by_image = np.concatenate([looked, np.array(bound)], axis=2)
        own = by_image[:, row.head] if row.head is not None else by_image.mean(1)
        for place, name in enumerate(NUMBERS):
            assert getattr(row, name) == pytest.approx(own[:, place].mean(), rel=1e-9)
            if name != "sink_is_prefix":
                squared = ((own[:, place] - own[:, place].mean()) ** 2).sum()
                assert getattr(row, f"{name}_deviation") == pytest.approx(squared, rel=1e-8)
        assert row.entropy_share == pytest.approx(row.entropy / math.log(7))
        assert row.uniform_distance == pytest.approx(uniform_grid_distance((2, 3), SIZE))
        assert (row.images, row.heads, row.tokens, row.prefix_tokens, row.reach) == (3, 3, 7, 1, "global")
        assert row.diagonal == pytest.approx(math.hypot(*SIZE))


def test_windows_have_the_measures_of_the_slow_twin():
    """The queries and keys of the padding count nowhere, though the model runs them."""
    model, images = Local().double().eval(), drawn(2, (10, 14))
    rows = measured(subject(model, images))["0000-0002"]
    mixer = model.first.requires_grad_(False)
    with torch.no_grad():
        x = model.stem(images).permute(0, 2, 3, 1)
    found = []
    for image in x:
        distances, entropies = [[], []], [[], []]
        for top in (0, 3):
            for left in (0, 3, 6):
                places = [(y, z) for y in range(top, min(top + 3, 5)) for z in range(left, min(left + 3, 7))]
                for y, z in places:
                    parts = {place: (mixer.qkv.weight @ image[place]).reshape(3, 2, 4) for place in places}
                    for head in (0, 1):
                        scores = []
                        for other in places:
                            offset = (other[0] - y + 2) * 5 + other[1] - z + 2
                            bias = mixer.relative_position_bias_table[offset, 0]
                            scores.append(float(parts[y, z][0, head] @ parts[other][1, head] / 2 + bias))
                        shares = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
                        away = [2 * math.dist((y, z), other) for other in places]
                        distances[head].append(sum(p * d for p, d in zip(shares, away, strict=True)))
                        entropies[head].append(-sum(p * math.log(p) for p in shares))
        found.append([[np.mean(distances[head]), np.mean(entropies[head])] for head in (0, 1)])
    expected = np.array(found).mean(0)
    for head in (0, 1):
        assert rows[head].distance == pytest.approx(expected[head, 0], rel=1e-10)
        assert rows[head].entropy == pytest.approx(expected[head, 1], rel=1e-10)
        assert (rows[head].reach, rows[head].tokens) == ("windows", 9)


def test_spans_pool_to_all_images():
    images = drawn(300)
    model = vit(depth=1)
    several = measured(subject(model, images))
    assert [rows[0].images for rows in several.values()] == [256, 44]
    found = AttentionHeads().summary(table([row for rows in several.values() for row in rows])).to_pylist()
    with torch.no_grad():
        maps, _ = vit_attention(model, images)
    place = grid_places((2, 3), SIZE)
    by_image = np.array([measures(own.tolist(), place, 1) for own in maps[0]])
    for row, own in zip(found, [*by_image.transpose(1, 0, 2), by_image.mean(1)], strict=True):
        assert row["images"] == 300
        for column, name in enumerate(("distance", "entropy", "diversity")):
            assert row[name] == pytest.approx(own[:, column].mean(), rel=1e-10)
            assert row[f"{name}_error"] == pytest.approx(own[:, column].std(ddof=1) / math.sqrt(300), rel=1e-10)
        assert row["distance_share"] == pytest.approx(row["distance"] / math.hypot(*SIZE))
    alone = AttentionHeads().summary(table(measured(subject(model, images[:1]))["0000-0001"])).to_pylist()
    assert alone[0]["distance_error"] is None
    assert alone[0]["distance"] == pytest.approx(by_image[0, 0, 0])


def test_the_map_of_one_image_is_what_its_class_token_looks_at():
    model, images = vit(), drawn(5)
    asked = {"image": 4, "map_point": "blocks.0+msa"}
    rows = measured(subject(model, images), **asked)["image-0004"]
    with torch.no_grad():
        maps, _ = vit_attention(model, images)
    for row in (row for row in rows if row.head is not None):
        expected = maps[int(row.point[7])][4, row.head, 0, 1:]
        np.testing.assert_allclose(row.map, expected, rtol=1e-10)
        assert (row.map_width, row.map_of, row.image, row.images) == (3, "class token", 4, 1)
    figure = AttentionHeads(**asked).figure(table([*measured(subject(model, images))["0000-0005"], *rows]))
    heats = [panel for panel in figure.panels if panel.heat]
    assert [panel.title for panel in heats] == [f"m, blocks.0+msa, head {head}" for head in range(3)]
    shares = np.array(rows[1].map).reshape(2, 3) / max(rows[1].map)
    np.testing.assert_allclose(heats[1].heat.values, shares[::-1])  # drawn from the bottom
    assert heats[1].heat.names_y == ("row 1", "row 0")
    assert "a map per head" in figure.caption


def test_without_class_token_a_map_is_what_each_place_receives():
    model = Local().double().eval()
    rows = measured(subject(model, drawn(2, (10, 14))), image=1)["image-0001"]
    row = rows[0]
    assert (row.map_of, row.map_width, len(row.map)) == ("mean over queries", 7, 35)
    assert rows[2].map == ()
    # Each window's queries share out 1 between its places.
    received = np.array(row.map).reshape(5, 7)
    for top, left in ((0, 0), (0, 3), (0, 6), (3, 0), (3, 6)):
        assert received[top : top + 3, left : left + 3].sum() == pytest.approx(1)


def test_maps_of_another_image_leave_the_spans_as_they_are():
    assert AttentionHeads(image=3).identity() == AttentionHeads().identity()
    given_to = subject(vit(), drawn(5))
    assert measured(given_to, image=3)["0000-0005"] == measured(given_to)["0000-0005"]


def test_a_part_that_can_t_be_read_is_listed_and_the_rest_measured():
    class Channels(nn.Module):
        def forward(self, x):
            y = x.flatten(2)
            return ((y @ y.mT).softmax(-1) @ y).reshape(x.shape)

    torch.manual_seed(0)
    model = Local()
    model.second = Channels()
    model = model.double().eval()
    rows = measured(subject(model, drawn(2, (10, 14))))["0000-0002"]
    assert [(row.head, row.note) for row in rows] == [
        (0, ""),
        (1, ""),
        (None, ""),
        (None, "its tokens come from channels, not from places"),
    ]
    assert rows[3].distance is None
    figure = AttentionHeads().figure(table(rows))
    assert "1 attention could not be read" in figure.caption
    model.first = Channels()
    with pytest.raises(NotApplicableError, match="m: none of its attention can be read; its tokens come from channels"):
        AttentionHeads().parts(subject(model, drawn(2, (10, 14))))


def test_one_head_has_no_diversity():
    rows = measured(subject(vit(num_heads=1), drawn(2)))["0000-0002"]
    assert {row.diversity for row in rows} == {None}
    figure = AttentionHeads().figure(table(rows))
    assert [panel.title for panel in figure.panels] == ["m", "Attention entropy", *DEPENDENCE]


def test_bf16_is_near():
    images = drawn(4)
    exact = measured(subject(vit(), images))["0000-0004"]
    near = measured(subject(vit().float(), images.float(), "bf16"))["0000-0004"]
    for a, b in zip(exact, near, strict=True):
        assert b.distance == pytest.approx(a.distance, rel=0.05)
        assert b.distance != a.distance


def test_bad_input_is_told_in_one_line():
    for fields, message in (
        ({"sample_size": 0}, r"attention\.sample_size: must be an integer from 1 to 1000000000; got 0"),
        ({"image": -1}, "attention.image: must be an integer from 0 to 1000000000; got -1"),
        ({"image": 8, "sample_size": 8}, "attention.image: must be 0 to 7, below sample_size; got 8"),
    ):
        with pytest.raises(ConfigError, match=message):
            AttentionHeads(**fields)
    given_to = subject(vit(), drawn(3))
    with pytest.raises(ConfigError, match=r"attention.image: must be 0 to 2 for the sample's images; got 3"):
        AttentionHeads(image=3).parts(given_to)
    with pytest.raises(ConfigError, match=r"no msa point 'blocks.0\+mas' .* Did you mean 'blocks.0\+msa'\?"):
        AttentionHeads(image=0, map_point="blocks.0+mas").parts(given_to)
    with pytest.raises(NotApplicableError, match="m: has no self-attention"):
        AttentionHeads().parts(subject(normalized().double().eval(), drawn(2, (16, 16))))
    with pytest.raises(ConfigError, match="attention: needs the trace of m"):
        AttentionHeads().parts(dataclasses.replace(given_to, trace=None))
    with pytest.raises(DataError, match="attention: needs at least one image"):
        AttentionHeads().images(0)
    broken = drawn(40)
    broken[33, 0, 0, 0] = math.nan
    with pytest.raises(DataError, match=r"attention at 'blocks.0\+msa': not finite in image position 33"):
        measured(subject(vit(), broken))


def test_the_figure_tells_heads_apart_and_models_together():
    rows = measured(subject(vit(), drawn(2)))["0000-0002"]
    both = pa.concat_tables([table(rows), table(rows, "other")])
    figure = AttentionHeads().figure(both)
    titles = ["m", "other", "Attention entropy", "Head diversity", *DEPENDENCE]
    assert [panel.title for panel in figure.panels] == titles
    mean, heads, even = figure.panels[0].lines
    assert (mean.role, heads.role, even.role) == ("curve", "points", "reference")
    assert heads.y[:3] == tuple(row.distance for row in rows[:3])
    assert mean.y[0] == pytest.approx(np.mean(heads.y[:3]))
    assert even.y[0] == pytest.approx(uniform_grid_distance((2, 3), SIZE))
    assert [line.name for line in figure.panels[2].lines] == ["m", "other"]
    assert "2 images" in figure.caption
