"""Networks whose tokens lose the grid: attention and lesion need none, and class tokens may stand anywhere."""

import math

import pytest
import torch
from torch import Tensor

import visionscope as vs
from reference.small_networks import CLASSES, Transformer, drawn
from visionscope.core.sample import InputConfig
from visionscope.errors import TraceError

INPUT = InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
LABELS = torch.arange(4) % CLASSES


def chosen(x: Tensor) -> Tensor:
    """The half of the tokens with the largest norm, in that order."""
    return x.gather(1, x.norm(dim=-1).topk(x.shape[1] // 2, 1)[1][..., None].expand(-1, -1, x.shape[2]))


def merged(x: Tensor) -> Tensor:
    """Each two tokens that are most alike become one (a step of token merging)."""
    even, odd = x[:, ::2], x[:, 1::2]
    to = (even @ odd.mT).argmax(-1)[..., None].expand_as(even)
    return odd.scatter_reduce(1, to, even, reduce="mean")


def entropy_by_hand(model: Transformer, images: Tensor) -> list[float]:
    """Mean over images and queries of each head's entropy in the last block."""
    found: list[Tensor] = []
    kept = model.last.attn.mix
    model.last.attn.mix = lambda q, k, v: (found.append((q @ k.mT).softmax(-1)), kept(q, k, v))[1]
    with torch.no_grad():
        model(images)
    model.last.attn.mix = kept
    return [float(one) for one in -(found[0] * found[0].log()).sum(-1).mean((0, 2))]


@pytest.mark.parametrize("change", [chosen, merged])
def test_attention_of_tokens_without_a_place_has_all_but_the_distance(change) -> None:
    model, images = Transformer(undo=change), drawn()
    table = vs.measure("attention", model, images, LABELS, input=INPUT).to_pandas()
    last = table[(table.point == "last+msa") & table["head"].notna()]
    assert last.distance.isna().all()
    assert last.uniform_distance.isna().all()
    assert last.entropy.tolist() == pytest.approx(entropy_by_hand(model, images), rel=1e-4)
    assert (last.tokens == 32).all()
    assert set(last.note) == {"no distance: its tokens could not be followed back to the image"}
    mean = table[(table.point == "last+msa") & table["head"].isna()]
    assert mean.distance.isna().all()
    assert mean.entropy.tolist() == pytest.approx([last.entropy.mean()])
    placed = table[table.point == "blocks.0+msa"]
    assert placed.distance.notna().all()
    assert set(placed.note) == {""}


def test_a_network_without_any_grid_has_attention_and_lesions() -> None:
    model, images = Transformer(change=chosen), drawn()
    with pytest.raises(
        TraceError, match=r"no feature maps that keep a grid; the first that was lost is blocks\.0\+msa"
    ):
        vs.fourier(model, images)
    table = vs.measure("attention", model, images, LABELS, input=INPUT).to_pandas()
    assert sorted(set(table.point)) == ["blocks.0+msa", "blocks.1+msa", "last+msa"]
    assert (table.entropy <= math.log(32) + 1e-6).all()
    lesions = vs.measure("lesion", model, images, LABELS).to_pandas()
    units = [f"{block}.{kind}" for block in ("blocks.0", "blocks.1", "last") for kind in ("msa", "mlp")]
    assert lesions.unit.tolist() == ["", *units]
    for number, name in enumerate(("blocks.0", "blocks.1")):
        with torch.no_grad():
            x = model.change(model.embed(images).flatten(2).mT)
            for other, block in enumerate(model.blocks):
                x = x if other == number else x + block.attn(block.norm(x))
                x = x + block.mlp(x)
            logits = model.head(model.last(x).mean(1))
        expected = float(torch.nn.functional.cross_entropy(logits, LABELS))
        assert lesions.set_index("unit").nll[f"{name}.msa"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("place", ["end", "middle"])
def test_distances_don_t_depend_on_where_the_class_token_stands(place: str) -> None:
    token = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(3))

    def front(x: Tensor) -> Tensor:
        return torch.cat([token.expand(len(x), 1, 8), x], 1)

    def elsewhere(x: Tensor) -> Tensor:
        own = token.expand(len(x), 1, 8)
        return torch.cat([x, own], 1) if place == "end" else torch.cat([x[:, :20], own, x[:, 20:]], 1)

    tables = [
        vs.measure("attention", Transformer(change), drawn(), input=INPUT).to_pandas() for change in (front, elsewhere)
    ]
    for name in ("distance", "entropy", "diversity", "prefix_tokens", "tokens"):
        assert tables[1][name].tolist() == pytest.approx(tables[0][name].tolist(), rel=1e-4)
    assert (tables[0].prefix_tokens == 1).all()
