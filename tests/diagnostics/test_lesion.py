"""Lesions: against networks written by hand without the unit, modes, refusals, summary and figure."""

import dataclasses
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reference import lesion as twin
from reference.removals import CLASSES, Images, rows_of, subject_of, table_of
from running.networks import normalized, tokens
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.lesion.measure import Lesions
from visionscope.diagnostics.lesion.question import Lesion, LesionRow
from visionscope.diagnostics.outcomes.passes import passes
from visionscope.diagnostics.outcomes.rows import bits
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.models.cifar import CifarResNet
from visionscope.models.load import load_model

SHARED = Path(os.environ.get("VISIONSCOPE_SHARED", Path(__file__).parents[2].parent / "shared"))
RESNET_20 = SHARED / "reference" / "resnet20_cifar10-12fca82f.th"


def vit(**changes):
    torch.manual_seed(0)
    asked = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 3, "num_heads": 3, "num_classes": CLASSES}
    model = VisionTransformer(**{**asked, **changes}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def resnet_20():
    torch.manual_seed(0)
    model = CifarResNet(num_classes=CLASSES).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return model


def check_against(rows, sample, logits_of):
    """NLL and right images of every row as the twin's logits give them."""
    images, labels = sample.images.double(), sample.labels
    for row in rows:
        logits = logits_of(images, tuple(name for name in (row.unit, row.other_unit) if name))
        assert row.nll == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), abs=1e-10)
        assert row.right == bits(logits.argmax(1) == labels)


@pytest.mark.parametrize("mode", ["branch", "pairs"])
def test_branches_of_a_vit_are_left_out_as_the_twin_leaves_them_out(mode):
    model = vit(init_values=0.5).double()
    subject = subject_of(model, precision="fp64")
    rows = rows_of(subject, mode=mode)
    names = [f"blocks.{number}.{kind}" for number in range(3) for kind in ("msa", "mlp")]
    assert [row.unit for row in rows if not row.other_unit] == ["", *names]
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    assert [(row.unit, row.other_unit) for row in rows if row.other_unit] == (pairs if mode == "pairs" else [])
    check_against(rows, subject.samples["eval"], lambda images, without: twin.vit_logits(model, images, without))
    assert len({row.nll for row in rows}) == len(rows)


def test_blocks_of_a_vit():
    model = vit().double()
    subject = subject_of(model, precision="fp64")
    rows = rows_of(subject, mode="block")
    assert [row.unit for row in rows] == ["", "blocks.0", "blocks.1", "blocks.2"]

    def logits_of(images, without):
        return twin.vit_logits(model, images, [f"{block}.{kind}" for block in without for kind in ("msa", "mlp")])

    check_against(rows, subject.samples["eval"], logits_of)


@pytest.mark.parametrize(("mode", "units"), [("branch", 9), ("block", 9), ("conv", 18)])
def test_resnet_20_is_left_without_as_the_twin_leaves_it(mode, units):
    model = resnet_20().double()
    subject = subject_of(model, precision="fp64")
    rows = rows_of(subject, mode=mode)
    assert len(rows) == 1 + units

    def logits_of(images, without):
        return twin.resnet_20_logits(model, images, [name.removesuffix(".conv") for name in without])

    check_against(rows, subject.samples["eval"], logits_of)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5))
def test_a_branch_of_zeros_changes_nothing(place):
    model = vit(init_values=0.5)
    nn.init.zeros_(getattr(model.blocks[place // 2], f"ls{place % 2 + 1}").gamma)
    rows = rows_of(subject_of(model, Images(count=8)))
    same = [row.unit for row in rows[1:] if (row.nll, row.right) == (rows[0].nll, rows[0].right)]
    assert same == [f"blocks.{place // 2}.{('msa', 'mlp')[place % 2]}"]


def test_the_intact_network_gives_what_it_gives_without_any_of_this():
    subject = subject_of(resnet_20())
    sample = subject.samples["eval"]
    with torch.no_grad():
        logits = torch.cat([subject.model(images) for images in sample.images.split(32)])
    assert rows_of(subject)[0].right == bits(logits.argmax(1) == sample.labels)
    assert rows_of(subject)[0].nll == pytest.approx(float(nn.functional.cross_entropy(logits, sample.labels)), rel=1e-6)


@pytest.mark.parametrize("build", [vit, resnet_20])
def test_bf16_is_near_fp32_and_resumes_every_pass(build):
    full, low = (subject_of(build(), precision=precision) for precision in ("fp32", "bf16"))
    for one, other in zip(rows_of(full), rows_of(low), strict=True):
        assert other.nll == pytest.approx(one.nll, rel=0.05)
    assert any(one.nll != other.nll for one, other in zip(rows_of(full), rows_of(low), strict=True))
    lesions = Lesions(low, "branch")
    with passes(low):
        found = list(lesions.outputs(low.samples["eval"].images))
        assert lesions.replay is not None
        assert not lesions.replay.whole
        assert len(found) == 1 + len(lesions.units)


def test_rows_say_what_was_done():
    rows = rows_of(subject_of(resnet_20()), mode="conv")
    assert (rows[0].unit, rows[0].how, rows[0].mode) == ("", "nothing removed", "conv")
    strided = next(row for row in rows if row.unit == "layer3.0.conv1")
    assert strided.how == "subsampled 2x2, 32 channels zero-padded to 64"
    assert (strided.stage, strided.kind) == (3, "conv")


class Chain(nn.Module):
    """No residual sums."""

    def __init__(self, kernel):
        super().__init__()
        pieces = []
        for given_, made in ((3, 8), (8, 8), (8, 12)):
            pieces += [nn.Conv2d(given_, made, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*pieces)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


@pytest.mark.parametrize("mode", ["branch", "block", "pairs"])
def test_a_model_without_residual_sums_is_told_what_else_could_be_removed(mode):
    lacks = "fewer than two residual sums" if mode == "pairs" else "no residual sum that was found"
    with pytest.raises(NotApplicableError, match=rf"^vgg: has {lacks} for mode {mode}; take --lesion.mode conv$"):
        Lesion(mode=mode).parts(subject_of(Chain(3), label="vgg"))
    with pytest.raises(NotApplicableError, match="no other mode has anything to remove either"):
        Lesion(mode=mode).parts(subject_of(Chain(1), label="vgg"))


def test_a_model_without_residual_sums_loses_convolutions():
    rows = rows_of(subject_of(Chain(3)), mode="conv")
    assert [row.unit for row in rows] == ["", "features.0", "features.3", "features.6"]
    assert rows[2].how == "identity"


def test_a_transformer_has_no_convolutions_to_lose():
    with pytest.raises(NotApplicableError, match=r"m: has no convolution larger than 1x1 .* take --lesion.mode branch"):
        Lesion(mode="conv").parts(subject_of(tokens()))


def test_labels_and_fields_are_checked():
    with pytest.raises(NotApplicableError, match="m: needs labels"):
        Lesion().parts(subject_of(tokens(), Images(labelled=False)))
    with pytest.raises(
        ConfigError,
        match=r"lesion\.mode: must be one of branch, conv, block, pairs; got 'bloc'\. Did you mean 'block'\?",
    ):
        Lesion(mode="bloc")
    with pytest.raises(ConfigError, match=r"lesion.calls: must be one of each, all; got 'al'.*'all'"):
        Lesion(calls="al")
    with pytest.raises(ConfigError, match=r"lesion.sample_size: must be an integer from 1 to 1000000000; got 0"):
        Lesion(sample_size=0)
    with pytest.raises(DataError, match="needs at least one image"):
        Lesion().images(0)


class Divides(nn.Module):
    """Its logits are infinite where the first block adds nothing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        first = self.stem(x)
        x = first + self.blocks[0](first)
        added = (x - first).abs().sum()
        return self.head((x + self.blocks[1](x)).mean((2, 3))) / added


def test_a_logit_that_is_not_finite_names_the_unit():
    torch.manual_seed(0)
    subject = subject_of(Divides().eval())
    first = subject.trace.all_points[-2].name
    with pytest.raises(DataError, match=rf"^m: a logit of image 0 is not finite, without {first}$"):
        rows_of(subject)


def row(unit, right, *, other="", depth=0.0, stage=1, kind="conv", mode="branch"):
    return LesionRow(
        part="0000-0008", sample="s", start=0, images=8, right=right, nll=1.0, classes=10, unit=unit, other_unit=other,
        mode=mode, kind=kind, stage=stage, depth=depth, how="skip operand" if unit else "nothing removed", calls="",
    )  # fmt: skip


def test_summary_and_figure_of_removals():
    table = table_of(
        [
            row("", "ff", kind="", stage=0),
            row("a.conv", "00", depth=0.25, stage=1),
            row("b.msa", "fe", depth=0.75, stage=2, kind="msa"),
        ]
    )
    lesion = Lesion()
    summary = lesion.summary(table).to_pylist()
    assert [one["unit"] for one in summary] == ["a.conv", "b.msa"]
    assert [one["change"] for one in summary] == [-100.0, -12.5]
    assert summary[0]["p"] == pytest.approx(2 / 2**8)
    assert [one["p_holm"] for one in summary] == [pytest.approx(4 / 2**8), 1.0]
    assert summary[1]["change_low"] < -12.5 < summary[1]["change_high"]
    (panel,) = lesion.figure(table).panels
    (line,) = panel.lines
    assert (line.x, line.y, line.kinds) == ((0.25, 0.75), (-100.0, -12.5), ("conv", "msa"))
    assert line.faint == (False, True)
    assert panel.boundaries == (0.5,)
    assert line.hover[0].startswith("a.conv (conv): -100.00 pp")


def test_the_maps_of_pairs_hold_changes_and_what_is_beyond_their_sum():
    table = table_of(
        [
            row("", "ff", kind="", stage=0, mode="pairs"),
            row("a", "fe", mode="pairs"),
            row("b", "fc", depth=1.0, mode="pairs"),
            row("a", "e0", other="b", mode="pairs"),
        ]
    )
    change, beyond = Lesion(mode="pairs").figure(table).panels
    assert change.heat.names_x == ("a", "b")
    assert change.heat.values == ((-12.5, -62.5), (-62.5, -25.0))
    assert beyond.heat.values[0][1] == beyond.heat.values[1][0] == -25.0
    assert beyond.heat.values[0][0] != beyond.heat.values[0][0]


def test_two_models_have_a_panel_each():
    rows = rows_of(subject_of(normalized(), Images(count=8)))
    table = pa.concat_tables([table_of(rows, "one"), table_of(rows, "two", "k")])
    assert [panel.title for panel in Lesion().figure(table).panels] == ["one", "two"]
    assert "8 images" in Lesion().figure(table).caption


@pytest.mark.skipif(not RESNET_20.exists(), reason=f"needs {RESNET_20} (VISIONSCOPE_SHARED)")
def test_the_public_resnet_20_on_its_test_images():
    loaded = load_model(f"resnet_20_cifar@{RESNET_20}")
    sample = Sample(open_source(str(SHARED / "data" / "cifar10")), loaded.input, 32)
    subject = dataclasses.replace(subject_of(loaded.model, Images(size=32, count=2)), samples={"eval": sample})
    images = torch.cat([batch.images for batch in sample.batches(0, 32, 32)])
    labels = torch.cat([batch.labels for batch in sample.batches(0, 32, 32)])
    for own in rows_of(subject, sample_size=32):
        without = [own.unit.removesuffix(".conv")]
        logits = twin.resnet_20_logits(loaded.model, images, without)
        assert own.nll == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-4)
