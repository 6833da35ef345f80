"""timm's ResNet-18, narrow and for images of 32 pixels, as a network of your own.

`visionscope buildup examples/narrow_resnet.py:narrow_resnet --data torch/cifar10 --recipe pico --budget 4h`
"""

import timm
from torch import nn

INPUT = {"input_size": (3, 32, 32), "mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)}


def narrow_resnet(num_classes: int = 10) -> nn.Module:
    """A quarter as wide; its stem keeps 16 x 16 of the 32 x 32 pixels, where ImageNet's would keep 8 x 8."""
    model = timm.create_model(
        "resnet18", channels=(16, 32, 64, 128), num_classes=num_classes, pretrained_cfg_overlay=INPUT
    )
    model.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
