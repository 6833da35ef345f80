"""Shifted windows measured where they lie on the image: a Swin block written out, place by place."""

import functools
import math

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from reference.attention import dependence
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.tracing import trace, watch

SIDE, WINDOW, SHIFT, PATCH, HEADS, WIDTH = 8, 4, 2, 2, 2, 4


class Images:
    def __init__(self, images):
        self.images, self.digest, self.labels = images, "fixed", None

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], None, own)


@functools.cache
def network():
    torch.manual_seed(0)
    sizes = {"img_size": SIDE * PATCH, "patch_size": PATCH, "window_size": WINDOW, "num_classes": 4}
    model = SwinTransformer(embed_dim=HEADS * WIDTH, depths=(2,), num_heads=(HEADS,), **sizes).double().eval()
    for block in model.layers[0].blocks:
        nn.init.normal_(block.attn.qkv.weight)
        nn.init.normal_(block.attn.relative_position_bias_table)
    return model.requires_grad_(False)


def windows():
    """The places of each shifted window, with the side of the image's edge that each lies on."""
    found = {}
    for row in range(SIDE):
        for column in range(SIDE):
            rolled = [(place - SHIFT) % SIDE for place in (row, column)]
            side = (row < SHIFT, column < SHIFT)
            found.setdefault((rolled[0] // WINDOW, rolled[1] // WINDOW), []).append(
                ((row, column), tuple(rolled), side)
            )
    return [found[key] for key in sorted(found)]


def by_hand(x):
    """Of the shifted block, per window and head: rows of probabilities, and the values; x is (row, column, channel)."""
    attention = network().layers[0].blocks[1].attn
    result = []
    for places in windows():
        parts = [
            (attention.qkv.weight @ x[place] + attention.qkv.bias).reshape(3, HEADS, WIDTH) for place, _, _ in places
        ]
        heads = []
        for head in range(HEADS):
            rows = []
            for (_, here, own), q in zip(places, parts, strict=True):
                scores = []
                for (_, there, other), k in zip(places, parts, strict=True):
                    offset = (here[0] - there[0] + WINDOW - 1) * (2 * WINDOW - 1) + here[1] - there[1] + WINDOW - 1
                    bias = float(attention.relative_position_bias_table[offset, head])
                    scores.append(
                        float(q[0, head] @ k[1, head]) / math.sqrt(WIDTH) + bias if own == other else -math.inf
                    )
                most = max(scores)
                total = math.fsum(math.exp(score - most) for score in scores)
                rows.append([math.exp(score - most) / total for score in scores])
            heads.append(rows)
        values = [[part[2, head].tolist() for part in parts] for head in range(HEADS)]
        result.append((places, heads, values))
    return result


@functools.cache
def measured():
    images = torch.randn(
        2, 3, SIDE * PATCH, SIDE * PATCH, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    model = network()
    found = trace(model, images)
    subject = Subject(
        label="m",
        model=model,
        points=found.points,
        watch=functools.partial(watch, model, found),
        samples={"eval": Images(images)},
        precision="fp64",
        input=InputConfig(size=(SIDE * PATCH,) * 2, mean=(0.5,) * 3, std=(0.5,) * 3),
        trace=found,
    )
    asked = AttentionHeads(image=1)
    rows = dict(asked.measure(subject, asked.parts(subject)))
    inputs = []
    with model.layers[0].blocks[1].norm1.register_forward_hook(lambda module, given, output: inputs.append(output)):
        model(images)
    shifted = {part: [row for row in own if "blocks.1" in row.point] for part, own in rows.items()}
    return shifted, [by_hand(x) for x in inputs[0]]


def test_distances_and_sinks_are_those_of_the_block_by_hand():
    rows, images = measured()
    for row in rows["0000-0002"][:HEADS]:
        distances, others = [], []
        for image in images:
            far, bound = [], []
            for places, heads, values in image:
                for (here, _, _), shares in zip(places, heads[row.head], strict=True):
                    away = [PATCH * math.dist(here, there) for there, _, _ in places]
                    far.append(sum(p * d for p, d in zip(shares, away, strict=True)))
                bound.append(dependence([heads[row.head]], 0, [values[row.head]])[0])
            distances.append(np.mean(far))
            others.append(np.mean(bound, axis=0))
        assert row.distance == pytest.approx(np.mean(distances), rel=1e-9)
        information, share, _, norm = np.mean(others, axis=0)
        assert row.mutual_information == pytest.approx(information, rel=1e-9)
        assert row.sink_share == pytest.approx(share, rel=1e-9)
        assert row.sink_value_norm == pytest.approx(norm, rel=1e-9)
        assert (row.sink_is_prefix, row.reach) == (None, "shifted windows")


def test_everywhere_alike_is_on_the_own_side_of_the_edge():
    rows, _ = measured()
    far = []
    for places in windows():
        for here, _, own in places:
            seen = [PATCH * math.dist(here, there) for there, _, other in places if other == own]
            far.append(sum(seen) / len(seen))
    assert rows["0000-0002"][0].uniform_distance == pytest.approx(np.mean(far))


def test_a_map_lies_as_the_image_does():
    rows, images = measured()
    for row in rows["image-0001"][:HEADS]:
        expected = np.zeros((SIDE, SIDE))
        for places, heads, _ in images[1]:
            for key, (place, _, _) in enumerate(places):
                expected[place] = np.mean([shares[key] for shares in heads[row.head]])
        np.testing.assert_allclose(np.array(row.map).reshape(SIDE, SIDE), expected, rtol=1e-9)
