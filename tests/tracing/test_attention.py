"""Reading attention: the right probabilities, at the right point, of the right places, and nothing left behind."""

import math
import warnings

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from reference.attention import vit_attention
from reference.found_as_it_was import snapshot
from reference.written_attention import FORMS, Mixed, OnTokens
from visionscope.core.subject import Kind
from visionscope.errors import TraceError
from visionscope.models.windows import LocalAttention
from visionscope.tracing import trace
from visionscope.tracing.attention import find_attention
from visionscope.tracing.read_attention import read_attention
from visionscope.tracing.written_out import fused


def vit(**changes):
    torch.manual_seed(0)
    asked = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 4}
    return VisionTransformer(**{**asked, **changes}).eval()


def swin(size=(32, 32), window=4):
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=size, patch_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=window, num_classes=4
    ).eval()


def read(model, images):
    """Everything that one pass hands over, and its output."""
    found = trace(model, images)
    attentions = find_attention(model, found, images)
    seen = []
    with torch.no_grad(), read_attention(model, found, attentions, lambda one, p: seen.append((one, p.clone()))):
        output = model(images)
    return seen, output, attentions


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_vit_gives_what_a_forward_pass_by_hand_gives(dtype, tolerance):
    model = vit().to(dtype)
    images = torch.randn(3, 3, 16, 24, dtype=dtype)
    seen, output, _ = read(model, images)
    with torch.no_grad():
        maps, logits = vit_attention(vit().double(), images.double())
        torch.testing.assert_close(output, model(images), rtol=0, atol=tolerance)
    assert (output.double() - logits).abs().max() < tolerance
    assert [one.point.name for one, _ in seen] == ["blocks.0+msa", "blocks.1+msa"]
    for (one, probabilities), own in zip(seen, maps, strict=True):
        assert probabilities.shape == (3, 1, 3, 7, 7)
        assert (probabilities[:, 0].double() - own).abs().max() < tolerance
        assert (one.heads, one.queries.prefix, one.keys.grid, one.keys.step) == (3, 1, (2, 3), (8.0, 8.0))
        assert one.keys.pixels[0].tolist() == [[y, x] for y in (4, 12) for x in (4, 12, 20)]


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_attention_is_read(form):
    model = Mixed(OnTokens(form), OnTokens(form)).eval()
    images = torch.randn(3, 3, 6, 8)
    seen, output, attentions = read(model, images)
    with torch.no_grad():
        torch.testing.assert_close(output, model(images), rtol=0, atol=1e-5)
    assert [one.point.name for one, _ in seen] == ["+msa", "+msa#2"]
    assert len(attentions) == 2
    for _, probabilities in seen:
        assert probabilities.shape == (3, 1, 2, 12, 12)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(3, 1, 2, 12))
    if form == "masked":
        assert torch.equal(seen[0][1][1, 0, 0], torch.eye(12).roll(1, 0))
    if form == "causal":
        assert float(seen[0][1][..., 0, 1:].abs().max()) == 0
        assert float(seen[0][1][..., 5, 5].min()) > 0


@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("channels", "its tokens come from channels, not from places"),
        ("linear", "it has no softmax over the product of queries and keys"),
        ("over queries", "its softmax is not over the last axis"),
        ("gated", "its probabilities are changed after the softmax"),
    ],
)
def test_what_is_no_attention_between_places_is_noted(form, note):
    seen, _, attentions = read(Mixed(OnTokens(form), OnTokens("fused")).eval(), torch.randn(2, 3, 6, 8))
    assert [one.note for one in attentions] == [note, ""]
    assert len(seen) == 1


def windows_of(size, count):
    """For a map of places numbered row by row: which numbers share a window."""
    numbers = torch.arange(count[0] * count[1]).reshape(count)
    return [
        numbers[top : top + size, left : left + size].flatten().tolist()
        for top in range(0, count[0], size)
        for left in range(0, count[1], size)
    ]


def test_windows_are_placed_on_the_map():
    seen, _, _ = read(swin(), torch.randn(2, 3, 32, 32))
    assert [one.point.name for one, _ in seen] == [
        "layers.0.blocks.0+msa",
        "layers.0.blocks.1+msa",
        "layers.1.blocks.0+msa",
    ]
    first, merged = seen[0], seen[2]
    assert first[1].shape == (2, 16, 2, 16, 16)
    numbers = first[0].keys.positions[..., 0] * 16 + first[0].keys.positions[..., 1]
    assert numbers.tolist() == windows_of(4, (16, 16))
    # Patch merging halves the grid: the same window covers twice the pixels.
    assert merged[0].keys.grid == (8, 8)
    assert (merged[0].keys.pixels[0, 1] - merged[0].keys.pixels[0, 0]).tolist() == [0, 4]


def test_the_windows_of_each_image_stay_with_it():
    model, images = swin().double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    one, other = (read(model, some)[0] for some in (images, images.flip(0)))
    for (_, probabilities), (_, flipped) in zip(one, other, strict=True):
        torch.testing.assert_close(probabilities, flipped.flip(0))
        assert not torch.allclose(probabilities[0], probabilities[1])


def test_a_query_looks_at_the_keys_of_its_window_alone():
    """By what changes: an image changed in one window changes no attention elsewhere."""
    torch.manual_seed(0)
    model = Mixed(LocalAttention(8, num_heads=2, head_dim=4, window_size=3)).double().eval()
    # A single residual sum is no stream of its own: the second one makes the first a point.
    model.mixers.append(LocalAttention(8, num_heads=2, head_dim=4, window_size=3).double())
    images = torch.randn(2, 3, 10, 14, dtype=torch.float64)
    changed = images.clone()
    changed[:, :, 6:, :6] += 1  # places of rows 3, 4 and columns 0, 1, 2
    (first, before), (_, after) = read(model, images)[0][0], read(model, changed)[0][0]
    assert before.shape == (2, 6, 2, 9, 9)
    assert first.queries.grid == (5, 7)
    differs = [not torch.equal(before[:, window], after[:, window]) for window in range(6)]
    assert differs == [False, False, False, True, False, False]
    # A map of 5 x 7 in windows of 3 is padded to 6 x 9; nobody looks at the padding.
    assert int(first.keys.inside.sum()) == 35
    assert first.keys.positions[first.keys.inside].amax(0).tolist() == [4, 6]
    hidden = ~first.keys.inside[None, :, None, None, :].expand_as(before)
    assert float(before[hidden].abs().max()) == 0


def test_keys_on_a_coarser_grid_lie_where_they_come_from():
    torch.manual_seed(0)
    model = timm.create_model("pvt_v2_b0", num_classes=4).eval()
    seen, _, _ = read(model, torch.randn(2, 3, 64, 96))
    one = seen[0][0]
    assert (one.queries.grid, one.queries.step) == ((16, 24), (4.0, 4.0))
    assert (one.keys.grid, one.keys.step) == ((2, 3), (32.0, 32.0))
    assert one.keys.pixels[0].tolist() == [[y, x] for y in (16, 48) for x in (16, 48, 80)]


def test_a_dilated_grid_of_tokens_is_placed_where_its_tokens_come_from():
    torch.manual_seed(0)
    model = timm.create_model(
        "maxvit_rmlp_pico_rw_256", num_classes=4, img_size=64, embed_dim=(32,) * 4, depths=(1,) * 4, stem_width=8
    ).eval()
    seen, _, _ = read(model, torch.randn(2, 3, 64, 64))
    blocks, grids = seen[0][0], seen[1][0]
    assert blocks.point.name.endswith("attn_block+msa")
    assert grids.point.name.endswith("attn_grid+msa")
    step = blocks.keys.positions[0, 1] - blocks.keys.positions[0, 0]
    assert step.tolist() == [0, 1]
    windows, tokens = grids.keys.positions.shape[:2]
    across = int(math.sqrt(windows))
    assert (grids.keys.positions[0, 1] - grids.keys.positions[0, 0]).tolist() == [0, across]
    assert windows * tokens == 16 * 16


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_written_out_it_is_torch_s_own_attention(data):
    """Any shape, mask, scale, causality and type; each row is a distribution."""
    sizes = st.integers(1, 5)
    batch, heads, queries, keys, width = (data.draw(sizes) for _ in range(5))
    seed = data.draw(st.integers(0, 2**16))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype) * 3

    given_to = {"scale": data.draw(st.sampled_from([None, 0.1, 2.0]))}
    kind = data.draw(st.sampled_from(["none", "bool", "bias", "causal"]))
    if kind == "bool":
        shown = drawn(queries, keys) > 0
        shown[:, 0] = True  # a query that may look at nothing has no distribution
        given_to["attn_mask"] = shown
    elif kind == "bias":
        given_to["attn_mask"] = drawn(heads, queries, keys)
    elif kind == "causal":
        given_to["is_causal"] = True
    tensors = drawn(batch, heads, queries, width), drawn(batch, heads, keys, width), drawn(batch, heads, keys, width)
    output, probabilities = fused(*tensors, **given_to)
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(output, F.scaled_dot_product_attention(*tensors, **given_to), **close)
    assert probabilities.shape == (batch, heads, queries, keys)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(batch, heads, queries, dtype=dtype), **close)
    assert bool((probabilities >= 0).all())


def test_nothing_is_left_behind():
    model, images = Mixed(OnTokens("module"), OnTokens("fused")).eval(), torch.randn(2, 3, 6, 8)
    found = trace(model, images)
    attentions = find_attention(model, found, images)
    before = snapshot(model)
    assert find_attention(model, found, images)
    assert snapshot(model) == before

    def refuse(attention, probabilities):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"), read_attention(model, found, attentions, refuse):
        model(images)
    assert snapshot(model) == before
    seen = []
    with torch.no_grad(), read_attention(model, found, attentions, lambda one, p: seen.append(p)):
        model(images)
        model(images[:1])
    assert [len(p) for p in seen] == [2, 2, 1, 1]
    assert snapshot(model) == before


def test_another_size_than_that_of_the_trace_is_refused():
    model = Mixed(OnTokens("fused"), OnTokens("fused")).eval()
    found = trace(model, torch.zeros(1, 3, 6, 8))
    attentions = find_attention(model, found, torch.zeros(1, 3, 6, 8))
    with (
        pytest.raises(TraceError, match=r"\+msa: its attention is \(16, 16\) where the trace saw \(12, 12\)"),
        read_attention(model, found, attentions, lambda one, p: None),
    ):
        model(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_in_attention_drops_what_is_used_and_not_what_is_told(dtype):
    class Dropped(OnTokens):
        def mixed(self, tokens):
            return F.scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=0.5)

    model = Mixed(Dropped(""), OnTokens("fused")).eval()
    images = torch.randn(2, 3, 6, 8)
    found = trace(model, images)
    attentions = find_attention(model, found, images)
    # One head without an axis of its own.
    assert attentions[0].heads == 1
    told = []
    autocast = torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16)
    with torch.no_grad(), autocast, read_attention(model, found, attentions[:1], lambda one, p: told.append(p)):
        outputs = [model(images) for _ in range(2)]
    assert torch.equal(told[0], told[1])
    assert told[0].shape == (2, 1, 1, 12, 12)
    assert not torch.equal(*outputs)


def test_the_points_are_those_of_the_trace():
    images = torch.zeros(1, 3, 32, 32)
    found = trace(swin(), images)
    wanted = [point.name for point in found.points if point.kind is Kind.MSA]
    assert [one.point.name for one in find_attention(swin(), found, images)] == wanted


FAMILIES = {
    "deit_tiny_distilled_patch16_224": "",
    "pit_ti_224": "",
    "cait_xxs24_224": "",
    "beit_base_patch16_224": "",
    "levit_128s": "",
    "eva02_tiny_patch14_224": "",
    "swinv2_tiny_window8_256": "",
    "twins_svt_small": "",
    "mvitv2_tiny": "",
    "hiera_tiny_224": "",
    "nest_tiny": "",
    "mobilevit_xxs": "",
    "convit_tiny": "its probabilities are changed after the softmax",
    "xcit_nano_12_p16_224": "its tokens come from channels, not from places",
    "coat_tiny": "it has no softmax over the product of queries and keys",
    "volo_d1_224": "it has no softmax over the product of queries and keys",
    "gcvit_xxtiny": "which images and heads its probabilities belong to could not be followed",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, num_classes=4).eval()
    images = torch.randn(2, *model.pretrained_cfg["input_size"])
    seen, output, attentions = read(model, images)
    with torch.no_grad():
        assert (output - model(images)).abs().max() < 1e-5
    assert len(seen) == sum(not one.note for one in attentions)
    notes = [one.note for one in attentions if one.note]
    assert (notes[0] if notes else "") == FAMILIES[name]
    for one, probabilities in seen:
        assert probabilities.shape[0] == 2
        assert (probabilities.double().sum(-1) - 1).abs().max() < 1e-5
        assert one.queries.inside.all()
        assert one.queries.positions.reshape(-1, 2).amax(0).tolist() == [side - 1 for side in one.point.grid]
