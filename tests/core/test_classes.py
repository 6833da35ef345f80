"""What a network says of the number of its classes, bare, wrapped, headless and with a head of somebody else's."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from running.networks import convolutions
from visionscope.core.classes import ClassCounts, class_counts


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.criterion = nn.CrossEntropyLoss()
        self.model = model

    def forward(self, x):
        return self.model(x - self.mean)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = timm.create_model("resnet18", num_classes=0)
        self.classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 7))


def labelled(**values):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    for name, value in values.items():
        setattr(model, name, value)
    return model


class Config:
    num_labels = 6


@pytest.mark.parametrize(
    ("model", "stated", "heads"),
    [
        (labelled(), (), (3,)),
        (labelled(num_classes=5), (5,), (3,)),
        (labelled(num_classes="ten"), (), (3,)),
        (labelled(config=Config()), (6,), (3,)),
        (convolutions(), (), (10,)),
        (timm.create_model("resnet18", num_classes=12), (12,), (12,)),
        (timm.create_model("vit_tiny_patch16_224", num_classes=12), (12,), (12,)),
        (torchvision.models.mobilenet_v3_small(num_classes=9), (), (9,)),
        (Encoder(), (), (7,)),
    ],
)
def test_the_model_states_it_or_its_head_shows_it(model, stated, heads):
    for some in (model, Wrapped(model), Wrapped(Wrapped(model)), nn.Sequential(model)):
        found = class_counts(some)
        assert (found.stated, found.heads, found.headless) == (stated, heads, "")


def test_spec_and_data_and_the_pretrained_configuration_count_too():
    found = class_counts(labelled(pretrained_cfg={"num_classes": 1000}), spec=4, data=8)
    assert found == ClassCounts(stated=(4,), heads=(3,), likely=(1000, 8))
    assert found.known == (4, 3, 1000, 8)
    assert class_counts(labelled(), data=1).likely == ()  # labels of one class tell nothing


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "coatnet_0_224", "efficientnet_b0"])
def test_networks_whose_head_was_taken_off_are_known(name):
    with torch.device("meta"):
        for model in (timm.create_model(name, num_classes=0), Wrapped(timm.create_model(name, num_classes=0))):
            assert "is nn.Identity" in class_counts(model).headless


def test_a_head_that_was_replaced_by_nothing_is_known_and_a_new_one_is_none():
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    assert class_counts(model).headless == "its fc is nn.Identity"
    model = timm.create_model("coatnet_0_224", num_classes=0)
    model.head = nn.Linear(768, 4)
    found = class_counts(model)
    assert (found.heads, found.headless) == ((4,), "its num_classes is 0")  # 4 columns are no features all the same
