"""Which parameters move: told by the network's own list, by names and by shapes."""

import pytest
import timm
import torch
from torch import nn

import visionscope.models.cifar  # noqa: F401  # registers the network
from visionscope.curvature.weights import weights_of

STAYS = {
    "vit_tiny_patch16_224": {"cls_token", "pos_embed"},
    "deit_tiny_distilled_patch16_224": {"cls_token", "dist_token", "pos_embed"},
    "vit_small_patch14_reg4_dinov2": {"cls_token", "reg_token", "pos_embed"},
    "swin_tiny_patch4_window7_224": {"relative_position_bias_table"},
    "swinv2_tiny_window8_256": {"logit_scale", "cpb_mlp.#.weight"},
    "levit_128s": {"attention_biases"},
    "mvitv2_tiny": {"rel_pos_h", "rel_pos_w"},
    "visformer_tiny": {"pos_embed#"},
    "fastvit_t8": {"gamma"},
    "convnext_tiny": set(),
    "resnet_20_cifar": set(),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_of_two_or_more_dimensions(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    moving = weights_of(model)
    stays = {path for path, value in model.named_parameters() if value.ndim > 1 and path not in moving}
    expected = STAYS[name]
    shortened = {"".join("#" if letter.isdigit() else letter for letter in path) for path in stays}
    assert all(path.endswith(tuple(expected)) for path in shortened), shortened
    assert all(any(path.endswith(end) for path in shortened) for end in expected)
    assert all(model.get_parameter(path).ndim > 1 for path in moving)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)
        self.tied = self.embed
        self.scale = nn.Parameter(torch.ones(1, 1, 4))
        self.position_embeddings = nn.Embedding(5, 4)
        self.tokens_of_place = nn.Parameter(torch.ones(3, 4))
        self.listed = nn.Parameter(torch.ones(3, 4))
        self.register_buffer("mask", torch.ones(3, 4))

    def no_weight_decay(self):
        return {"listed"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_rule_on_a_network_of_odd_pieces(wrapped):
    model = nn.Sequential(Odd()) if wrapped else Odd()
    path = "0." if wrapped else ""
    assert list(weights_of(model)) == [path + name for name in ("tokens_of_place", "embed.weight", "head.weight")]


def test_the_authors_code_moves_class_tokens_too():
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224")
    assert set(weights_of(model, "official")) - set(weights_of(model)) == {"cls_token"}
