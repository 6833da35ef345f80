"""The values that probabilities weigh, and shifted windows put back in place."""

import pytest
import torch
import torchvision
from timm.models.swin_transformer import SwinTransformer

from reference.written_attention import FORMS, Mixed, OnTokens
from visionscope.tracing import trace
from visionscope.tracing.attention import find_attention
from visionscope.tracing.read_attention import read_attention


@pytest.mark.parametrize("form", FORMS)
def test_values_are_what_the_probabilities_weigh(form):
    """Their product is what the branch hands on; mixed heads weigh nothing as it is, so nothing is told of them."""
    model = Mixed(OnTokens(form), OnTokens(form)).eval()
    for mixer in model.mixers:
        torch.nn.init.normal_(mixer.module.in_proj_bias)  # zeros at first
    images = torch.randn(3, 3, 6, 8)
    found = trace(model, images)
    attentions = find_attention(model, found, images)
    probabilities, values, outputs = [], [], []
    for mixer in model.mixers:
        mixer.register_forward_hook(lambda mixer, given, output: outputs.append((mixer, output.clone())))
    taken = (lambda one, p: probabilities.append(p.clone()), lambda one, v: values.append(v.clone()))
    with torch.no_grad(), read_attention(model, found, attentions, *taken):
        model(images)
    assert len(values) == (0 if form == "talking" else 2)
    for p, v, (mixer, output) in zip(probabilities, values, outputs, strict=False):
        assert v.shape == (3, 1, 2, 12, 4)
        mixed = (p @ v)[:, 0].transpose(1, 2).flatten(2)
        with torch.no_grad():
            mixed = mixer.module.out_proj(mixed) if form.startswith("module") else mixed
        torch.testing.assert_close(mixed.mT.reshape(output.shape), output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("side", [32, 36])
def test_shifted_windows_lie_where_they_do_on_the_image(library, side):
    """Every place once, also where the map was padded or merged."""
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "num_classes": 4}
    torch.manual_seed(0)
    if library == "timm":
        model = SwinTransformer(img_size=side, patch_size=2, window_size=4, **sizes).eval()
    else:
        model = torchvision.models.SwinTransformer(patch_size=[2, 2], window_size=[4, 4], **sizes).eval()
    images = torch.zeros(1, 3, side, side)
    attentions = find_attention(model, trace(model, images), images)
    assert len(attentions) == 4
    for number, one in enumerate(attentions):
        count = side // 2 if number < 2 else side // 4
        positions, inside = one.keys.positions, one.keys.inside
        places = positions[inside][:, 0] * count + positions[inside][:, 1]
        assert sorted(places.tolist()) == list(range(count * count))
        assert bool(one.keys.side.any()) == (number % 2 == 1)
        if side == 32 and number % 2:
            # The last window has the four corners of the map, each on a side of its own.
            ends = {0, 1, count - 2, count - 1}
            assert set(positions[-1].flatten().tolist()) == ends
            for (row, column), corner in zip(positions[-1].tolist(), one.keys.side[-1].tolist(), strict=True):
                assert corner == 2 * (row < 2) + (column < 2)
