"""Taking units out: which operand is the skip, what stands for a convolution, and bits equal to whole passes."""

import importlib
import pkgutil
import warnings

import pytest
import timm
import torch
from torch import nn

import visionscope.models
from reference.found_as_it_was import snapshot
from visionscope.errors import TraceError
from visionscope.tracing import trace
from visionscope.tracing.edit import Edit, block_units, branch_units, convolution_units, pixels_of
from visionscope.tracing.replay import Replay

for own in pkgutil.iter_modules(visionscope.models.__path__):
    importlib.import_module(f"visionscope.models.{own.name}")

FAST = {
    "vit_tiny_patch16_224": ({"img_size": 32, "patch_size": 8, "depth": 2}, 32),
    "swin_tiny_patch4_window7_224": (
        {"img_size": 32, "window_size": 4, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
        32,
    ),
    "resnet18": ({}, 32),
    "convnext_atto": ({"depths": (1, 1, 2, 1)}, 32),
    "alternet_nano": ({}, 32),
    "resnet_20_cifar": ({}, 32),
}
SLOW = {
    "alternet_50": ({}, 32),
    "resnet50": ({}, 64),
    "resnetv2_50": ({}, 64),
    "beit_base_patch16_224": ({"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 48, "num_heads": 3}, 32),
    "eva02_tiny_patch14_224": ({"img_size": 56, "depth": 3}, 56),
    "maxvit_rmlp_pico_rw_256": ({"img_size": 64}, 64),
    "coatnet_nano_rw_224": ({"img_size": 64}, 64),
    "levit_128s": ({"img_size": 64}, 64),
    "poolformer_s12": ({}, 64),
    "mixer_s32_224": ({"img_size": 64}, 64),
    "efficientnet_b0": ({}, 64),
    "regnetx_002": ({}, 64),
    "cait_xxs24_224": ({"img_size": 32, "depth": 3}, 32),
    "pit_ti_224": ({"img_size": 64}, 64),
    "mobilevit_xxs": ({}, 64),
    "xcit_nano_12_p16_224": ({"img_size": 64}, 64),
    "res2net50_14w_8s": ({}, 64),
    "densenet121": ({}, 64),
}


def built(name, fields):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, num_classes=10, **fields).eval()
    for parameter in model.parameters():
        if parameter.ndim < 2 or float(parameter.detach().abs().max()) == 0:
            parameter.data.add_(0.1 * torch.randn_like(parameter))  # branches and heads that begin at zero, too
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def check_bits(name, fields, size, most):
    """Every mode: resumed passes have the bits of whole ones, and each removal changes something."""
    model = built(name, fields)
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    found = trace(model, images)
    before = snapshot(model)
    units = [*branch_units(found)[:most], *block_units(found)[:most], *convolution_units(model, found)[:most]]
    assert units
    edits = [unit.edit for unit in units]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        assert torch.equal(recording.output, replay.full(images))
        for unit in units:
            whole = replay.full(images, unit.edit)
            assert torch.equal(replay.resume(recording, unit.edit), whole), unit.name
            assert not torch.equal(whole, recording.output), unit.name
        assert torch.equal(replay.record(images, later=edits).output, recording.output)
    assert not replay.whole
    after = snapshot(model)
    assert {key: after[key] for key in after if key != "random"} == {
        key: before[key] for key in after if key != "random"
    }


@pytest.mark.parametrize("name", FAST)
def test_resumed_passes_have_the_bits_of_whole_ones(name):
    check_bits(name, *FAST[name], most=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_resumed_passes_have_the_bits_of_whole_ones_in_further_families(name):
    check_bits(name, *SLOW[name], most=64)


class Toy(nn.Module):
    """Two residual sums, written in many ways."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Sum(way), Sum(way))
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Sum(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        if self.way == "mutates its input":
            return x + self.conv(self.act(x))
        y = self.conv(self.act(self.norm(x)))
        match self.way:
            case "skip first":
                return x + y
            case "skip second":
                return y + x
            case "branch in place":
                y += x
                return y
            case "skip in place":
                x += y
                return x
            case "statement":
                y.add_(x)
                return self.act(y)
            case "alpha":
                return torch.add(y, x, alpha=2)
        raise AssertionError(self.way)


def by_hand(model, images, removed):
    """The toy's logits where the block of that number gives its skip."""
    x = model.stem(images)
    for number, block in enumerate(model.blocks):
        y = x if model.way == "mutates its input" else block.norm(x)
        y = block.conv(y.relu())
        if model.way == "mutates its input":
            x = x.relu()
        x = (2 if model.way == "alpha" else 1) * x + (0 if number == removed else 1) * y
        if model.way == "statement":
            x = x.relu()
    return model.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    "way", ["skip first", "skip second", "branch in place", "skip in place", "statement", "alpha", "mutates its input"]
)
def test_a_removed_branch_leaves_the_skip_however_the_sum_is_written(way):
    torch.manual_seed(0)
    model = Toy(way).double().eval()
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    units = branch_units(trace(model, images))
    assert [unit.name for unit in units] == ["blocks.0.conv", "blocks.1.conv"]
    edits = [unit.edit for unit in units]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        for number, edit in enumerate(edits):
            wanted = by_hand(model, images, number)
            assert (replay.resume(recording, edit) - wanted).abs().max() <= 1e-12
            assert torch.equal(replay.resume(recording, edit), replay.full(images, edit))
        both = replay.record(images, edits[0], later=edits[1:], base=recording)
        assert torch.equal(both.output, replay.full(images, edits[0]))
        assert torch.equal(replay.resume(both, edits[1]), replay.full(images, edits[0] | edits[1]))
        assert (recording.output - by_hand(model, images, None)).abs().max() <= 1e-12
    assert not replay.whole


class Shared(nn.Module):
    """One block called three times, which hands on a list."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList([Listing()])
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        maps = [self.stem(x)]
        for _ in range(3):
            maps = self.blocks[0](maps)
            maps.append(maps[-1].relu())
        assert len(maps) == 7
        return self.head(maps[-1].mean((2, 3)))


class Listing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, maps):
        return [*maps, maps[-1] + self.conv(maps[-1])]


def test_a_module_called_several_times_loses_one_of_its_sums():
    torch.manual_seed(0)
    model = Shared().eval()
    images = torch.randn(2, 3, 6, 6)
    units = branch_units(trace(model, images))
    assert [unit.edit.sums[0].call for unit in units] == [0, 1, 2]
    edits = [unit.edit for unit in units]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        for number, edit in enumerate(edits):
            x = model.stem(images)
            for call in range(3):
                x = (x if call == number else x + model.blocks[0].conv(x)).relu()
            wanted = model.head(x.mean((2, 3)))
            assert torch.equal(replay.resume(recording, edit), wanted)


class Keeping(nn.Module):
    """Reads a tensor under the name that it was overwritten by, which no result tells."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Identity()
        self.blocks = nn.Sequential(Sum("skip first"))
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.drop(x)
        y.mul_(0.5)
        return self.head(self.blocks(x).mean((2, 3)))


def test_where_a_resumed_pass_would_differ_whole_passes_are_made():
    torch.manual_seed(0)
    model = Keeping().eval()
    images = torch.randn(2, 3, 6, 6)
    edits = [Edit(modules=("blocks.0.conv",))]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        assert torch.equal(recording.output, model(images))
        assert torch.equal(replay.resume(recording, edits[0]), replay.full(images, edits[0]))
    assert replay.whole == set(edits)


class Fickle(nn.Module):
    """Takes another way for bright images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.more = nn.Conv2d(4, 4, 1)
        self.blocks = nn.Sequential(Sum("skip first"), Sum("skip first"))
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        y = self.stem(x)
        if float(x.mean()) > 5:
            y = self.more(y)
        return self.head(self.blocks(y).mean((2, 3)))


def test_where_a_pass_takes_another_way_whole_passes_are_made():
    torch.manual_seed(0)
    model = Fickle().eval()
    images = torch.randn(2, 3, 6, 6)
    edits = [unit.edit for unit in branch_units(trace(model, images))]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images + 10, later=edits)
        assert torch.equal(recording.output, model(images + 10))
        assert torch.equal(replay.resume(recording, edits[1]), replay.full(images + 10, edits[1]))
    assert replay.whole == set(edits)


def test_a_branch_of_zeros_changes_nothing():
    model = built("vit_tiny_patch16_224", {**FAST["vit_tiny_patch16_224"][0], "init_values": 1e-5})
    nn.init.zeros_(model.blocks[1].ls1.gamma)
    images = torch.randn(2, 3, 32, 32)
    units = branch_units(trace(model, images))
    edits = [unit.edit for unit in units]
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        same = [unit.name for unit in units if torch.equal(replay.resume(recording, unit.edit), recording.output)]
    assert same == ["blocks.1.msa"]


def test_the_model_is_left_as_it_was_when_a_pass_fails():
    model = built("resnet_20_cifar", {})
    images = torch.randn(2, 3, 32, 32)
    edits = [unit.edit for unit in branch_units(trace(model, images))]
    broken = {"armed": False}

    def fail(module, args):
        if broken["armed"]:
            raise OSError("the disk is gone")

    model.layer3[2].conv2.register_forward_pre_hook(fail)
    with torch.no_grad():
        replay = Replay(model, edits, images)
        recording = replay.record(images, later=edits)
        before, broken["armed"] = snapshot(model), True
        with pytest.raises(OSError, match="the disk is gone"):
            replay.resume(recording, edits[3])
        assert snapshot(model) == before


def test_what_the_pass_does_not_reach_is_refused():
    model = built("resnet_20_cifar", {})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), pytest.raises(TraceError, match=r"CifarResNet: the pass does not reach .*nowhere"):
        Replay(model, [Edit(modules=("nowhere",))], images)


def test_blocks_hold_all_their_sums_and_convolutions_say_what_stands_for_them():
    vit = built("vit_tiny_patch16_224", FAST["vit_tiny_patch16_224"][0])
    found = trace(vit, torch.zeros(2, 3, 32, 32))
    blocks = block_units(found)
    assert [(unit.name, unit.how, str(unit.kind)) for unit in blocks] == [
        (f"blocks.{number}", "skip operands of 2 sums", "block") for number in range(2)
    ]
    branches = branch_units(found)
    assert [unit.name for unit in branches] == ["blocks.0.msa", "blocks.0.mlp", "blocks.1.msa", "blocks.1.mlp"]
    assert blocks[0].edit == branches[0].edit | branches[1].edit
    assert blocks[1].depth == branches[3].depth == 1
    assert convolution_units(vit, found) == ()
    resnet = built("resnet_20_cifar", {})
    units = convolution_units(resnet, trace(resnet, torch.zeros(2, 3, 32, 32)))
    assert len(units) == 18
    said = {unit.name: (unit.stage, unit.how) for unit in units}
    assert said["layer1.0.conv1"] == (1, "identity")
    assert said["layer2.0.conv1"] == (2, "subsampled 2x2, 16 channels zero-padded to 32")
    assert said["layer2.0.conv2"] == (2, "identity")
    regnet = built("regnetx_002", {})
    units = convolution_units(regnet, trace(regnet, torch.zeros(2, 3, 32, 32)))
    assert [unit.name for unit in units][:2] == ["s1.b1.conv2.conv", "s2.b1.conv2.conv"]


def test_pixels_of_subsamples_crops_pads_and_cuts():
    x = torch.arange(2 * 7 * 5.0).reshape(1, 2, 7, 5)
    assert torch.equal(pixels_of(x, (2, 4, 3), (2, 2)), x[:, :, ::2, ::2])
    assert torch.equal(pixels_of(x, (2, 5, 3), (1, 1)), x[:, :, 1:6, 1:4])
    assert torch.equal(pixels_of(x, (1, 7, 5), (1, 1)), x[:, :1])
    padded = pixels_of(x, (5, 7, 5), (1, 1))
    assert torch.equal(padded[:, 1:3], x)
    assert padded.abs().sum() == x.sum()
