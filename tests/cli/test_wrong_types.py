"""Library calls with values of other types: each ends in one line that names the parameter and what is right."""

import pathlib

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

import visionscope as vs
from running.networks import convolutions
from visionscope.errors import ConfigError, DataError

IMAGES = torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 10
WRONG = [None, 5, b"", b"abc", object(), {}, 2.5, np.float64(2.5), int]


def with_one(value: float, at: int) -> torch.Tensor:
    changed = IMAGES.clone()
    changed[at, 1, 2, 2] = value
    return changed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (IMAGES.to_sparse(), r"images: must be a floating-point tensor .*a sparse tensor; call .to_dense\(\)"),
        (IMAGES.to("meta"), r"images: .*on the meta device, which holds no numbers; make it on a real one"),
        (IMAGES.int(), r"images: .*; got int32 of shape \(20, 3, 16, 16\); bring it to \[0, 1\] and normalise it"),
        (IMAGES > 0, r"images: .*; got bool of shape"),
        (IMAGES + 0j, r"images: .*; got complex64 of shape .*; pass its .real"),
        (IMAGES[0], r"images: .*; got float32 of shape \(3, 16, 16\); for a single image pass images\[None\]"),
        (IMAGES[:, :, :0], r"images: .*no size 0; got float32 of shape \(20, 3, 0, 16\)"),
        (IMAGES.int().numpy(), r"images: .*; got int32 of shape \(20, 3, 16, 16\); bring it to \[0, 1\] and normalise"),
        (np.array([object()]), r"images: must be an array of numbers that torch knows; got object"),
        (np.ma.masked_greater(IMAGES.numpy(), 1), r"images: must be a plain array; got a masked one, call .filled\(\)"),
        (PIL.Image.new("RGB", (8, 8)), r"images: .*; pass a list of them"),
        (iter(IMAGES), r"images: .*; pass a list of its images"),
        ([], r"images: must be one or more; got none"),
        (["a.jpg", "b.jpg"], r"images: item 0 must be a tensor, an array or a PIL image, .*; got 'a.jpg'"),
        ([IMAGES, IMAGES], r"images: item 0 is a batch, of shape \(20, 3, 16, 16\); pass one tensor"),
        ([IMAGES[0], IMAGES[1, :, :8]], r"images: must all have one shape and type; got .*3, 16, 16.* and .*3, 8, 16"),
        ([(IMAGES[0], 1), IMAGES[1]], r"labels: must come with every image or with none; got 1 for 2 images"),
        ([(IMAGES[0], 1, 2)], r"images: item 0 must be an image or \(image, label\)"),
        ([{"image": IMAGES[0]}], r"images: item 0 must be a tensor, .*; got dict"),
        (
            torch.utils.data.DataLoader([{"pixel_values": image} for image in IMAGES]),
            r"images: a DataLoader must yield images or \(images, labels\), .* with the keys \['pixel_values'\]",
        ),
        (torch.utils.data.DataLoader(torch.arange(4.0)), r"images: a DataLoader must yield images \(batch, channels, "),
        *((wrong, r"images: must be a tensor or an array") for wrong in WRONG),
    ],
)
def test_images_of_another_kind(given, message):
    for ask in (vs.fourier, vs.variance, lambda *both: vs.measure("calibration", *both, LABELS)):
        with pytest.raises(ConfigError, match=message) as caught:
            ask(convolutions(), given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "at", "what"), [(torch.nan, 0, "NaN"), (torch.inf, 7, "infinity")])
def test_images_that_are_not_finite_are_told_before_the_model_runs(value, at, what):
    network = convolutions()
    network.register_forward_pre_hook(lambda *_: pytest.fail("the model ran"))
    with pytest.raises(DataError, match=rf"images: image {at} holds {what}; images must be finite"):
        vs.fourier(network, with_one(value, at))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0] * 19, r"labels: must be class indices, one for each of 20 images; got int64 of shape \(19,\)"),
        ([0.5] * 20, r"labels: must be class indices, one for each of 20 images; got \[0.5, "),
        (LABELS.float().numpy(), r"labels: .*; got float32 of shape \(20,\); pass labels.long\(\)"),
        (LABELS.float(), r"labels: .*; got float32 of shape \(20,\); pass labels.long\(\)"),
        (LABELS > 3, r"labels: .*; got bool of shape"),
        (LABELS[:5], r"labels: must be class indices, one for each of 20 images; got int64 of shape \(5,\)"),
        (LABELS[:, None], r"labels: .*; pass labels.flatten\(\)"),
        (torch.eye(10)[LABELS], r"labels: .*; pass labels.argmax\(1\)"),
        (torch.tensor(3), r"labels: .*; got int64 of shape \(\)"),
        (LABELS - 1, r"labels: must be 0 or more; got -1 of image 0"),
        (LABELS + 100, r"labels: must be 0 to 9 for \w+; got 10|a label is 109, but the model has 10"),
        (LABELS.to("meta"), r"labels: .*on the meta device"),
        *((wrong, r"labels: ") for wrong in WRONG),
    ],
)
def test_labels_of_another_kind(given, message):
    for ask in (lambda *three: vs.hessian(*three, k=1, mini_batches=1), lambda *three: vs.lesion(*three)):
        with pytest.raises((ConfigError, DataError), match=message) as caught:
            ask(convolutions(), IMAGES, given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [*WRONG, "", "\0", nn.Linear, []])
@pytest.mark.parametrize(
    ("parameter", "call"),
    [
        ("model", lambda wrong: vs.fourier(wrong, IMAGES)),
        ("model", vs.points),
        ("model", lambda wrong: vs.harmonize(wrong, (0, 1))),
        ("placement|msa", lambda wrong: vs.harmonize(convolutions(), wrong, input_size=(16, 16))),
        ("seed", lambda wrong: vs.harmonize(convolutions(), (0,), seed=wrong, input_size=(16, 16))),
        ("name|only", lambda wrong: vs.measure(wrong, convolutions(), IMAGES)),
        ("input", lambda wrong: vs.measure("calibration", convolutions(), IMAGES, LABELS, input=wrong)),
        ("models?", vs.diagnose),
        ("models?", lambda wrong: vs.diagnose([wrong])),
        ("data", lambda wrong: vs.diagnose("resnet18", wrong)),
        ("run", vs.Store),
        ("data", vs.open_source),
        ("seed", lambda wrong: vs.open_source("embedded", seed=wrong)),
        ("source", lambda wrong: vs.Sample(wrong, None)),
        ("function", vs.keeps_axes),
    ],
)
def test_every_public_call_says_what_it_takes(parameter, call, wrong):
    if (wrong is None and parameter == "input") or (wrong == 5 and parameter == "seed"):
        pytest.skip("that is right")
    if isinstance(wrong, type) and parameter == "function" and issubclass(wrong, nn.Module):
        pytest.skip("that is right")
    with pytest.raises(vs.VisionscopeError, match=rf"^({parameter})\b") as caught:
        call(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(0, 0), (10**6, 10**6), (-1, 5), (16.5, 16.5), ("a", "b"), 0, True, (1, 2, 3), 10**6])
def test_size_of_points_obeys_the_study_s_rule(size):
    for model in (convolutions(), "resnet_nano"):
        with pytest.raises(ConfigError, match=r"^size: (each )?must be "):
            vs.points(model, size=size)


def test_one_number_is_a_square_size_and_numpy_s_integers_are_integers():
    expected = vs.points(convolutions(), size=(16, 16))
    assert vs.points(convolutions(), size=16) == vs.points(convolutions(), size=np.int64(16)) == expected


def test_a_path_stands_where_a_path_is_natural(tmp_path):
    assert vs.Store(tmp_path).run == vs.Store(str(tmp_path)).run == tmp_path
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        vs.open_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        vs.diagnose("resnet18", data=pathlib.Path(tmp_path / "nowhere"))
    assert vs.open_source(pathlib.Path("embedded")).split == "test"


def test_a_network_in_a_study_s_models_is_told_what_to_do():
    with pytest.raises(ConfigError, match=r"models: must be model specs; got a network, \w+. Name the function"):
        vs.diagnose([convolutions()])
