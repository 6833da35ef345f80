"""Logits per pixel and masks: where they are found, how they are resized, and what their loss is."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionscope.core.classes import ClassCounts
from visionscope.core.logits import Readout, find_readout, of_pixels
from visionscope.core.objective import Objective, check_each_counts, counting
from visionscope.core.sample import IGNORED, Batch
from visionscope.errors import DataError
from visionscope.training.mask_scores import evaluate_masks

CLASSES = 3


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(images, height, width, *, ignored=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(CLASSES, (images, height, width), generator=generator)
    drawn[torch.rand(drawn.shape, generator=generator) < ignored] = IGNORED
    return drawn


def batch_of(labels, size=None):
    height, width = size or labels.shape[1:]
    return Batch(torch.zeros(len(labels), 3, height, width), labels, 7 + torch.arange(len(labels)))


def slow_nll(logits, labels, smoothing):
    """The mean over images, pixel by pixel in Python, with targets written out."""
    found = []
    for image, mask in zip(logits, labels, strict=True):
        losses = []
        for row in range(mask.shape[0]):
            for column in range(mask.shape[1]):
                label = int(mask[row, column])
                if label == IGNORED:
                    continue
                values = image[:, row, column].tolist()
                most = max(values)
                total = most + math.log(math.fsum(math.exp(value - most) for value in values))
                targets = [smoothing / len(values) + (1 - smoothing) * (place == label) for place in range(len(values))]
                losses.append(math.fsum(share * (total - z) for share, z in zip(targets, values, strict=True)))
        found.append(math.fsum(losses) / len(losses))
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_an_image_is_the_mean_over_its_pixels_that_count(smoothing):
    objective, labels, logits = Objective(label_smoothing=smoothing), masks(4, 5, 6), draw(4, CLASSES, 5, 6)
    targets = objective.targets(batch_of(labels), CLASSES)
    found = objective.nll(logits, targets)
    assert found.tolist() == pytest.approx(slow_nll(logits, labels, smoothing), rel=1e-12)
    # Images of unlike numbers of ignored pixels weigh the same; torch's mean over all pixels weighs them otherwise.
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=smoothing)
    assert float(found.mean()) != pytest.approx(float(pixels), rel=1e-3)


def test_without_ignored_pixels_it_is_torch_s_mean_over_all_pixels():
    labels, logits = masks(4, 5, 6, ignored=0), draw(4, CLASSES, 5, 6)
    found = Objective().nll(logits, labels).mean()
    assert float(found) == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-12)


def test_by_hand():
    # Two pixels count: a certain one, log(1 + 2 e^-9), and one of equal logits, log 3.
    logits = torch.tensor([[9.0, 0.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)[None, :, None]
    labels = torch.tensor([[[0, 2, IGNORED]]])
    expected = (math.log1p(2 * math.exp(-9)) + math.log(3)) / 2
    assert Objective().nll(logits, labels).tolist() == [pytest.approx(expected, rel=1e-14)]


def test_an_ignored_pixel_never_matters():
    labels, logits = masks(3, 4, 4, ignored=0.5), draw(3, CLASSES, 4, 4)
    objective = Objective(label_smoothing=0.1)
    other = torch.where((labels == IGNORED)[:, None], draw(3, CLASSES, 4, 4, seed=1) * 50, logits).requires_grad_()
    found = objective.nll(other, labels)
    assert torch.equal(found, objective.nll(logits, labels))
    (gradient,) = torch.autograd.grad(found.sum(), other)
    assert not gradient.movedim(1, -1)[labels == IGNORED].any()
    assert gradient.movedim(1, -1)[labels != IGNORED].all()


def test_the_order_of_images_never_matters():
    labels, logits = masks(5, 4, 4), draw(5, CLASSES, 4, 4)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(Objective().nll(logits, labels)[order], Objective().nll(logits[order], labels[order]))


def test_logits_at_a_quarter_are_resized_to_the_mask():
    labels, logits = masks(2, 8, 12), draw(2, CLASSES, 2, 3)
    resized = of_pixels(logits, labels)
    assert resized.shape == (2, CLASSES, 8, 12)
    # A pixel of the mask lies at (i + 1/2) / 4 - 1/2 of the logits, held inside: weights 1/8, 3/8, 5/8, 7/8.
    where = [min(max((place + 0.5) / 4 - 0.5, 0.0), 1.0) for place in range(8)]
    rows = [(1 - at) * logits[0, 0, 0, 0] + at * logits[0, 0, 1, 0] for at in where]
    assert resized[0, 0, :, 0].tolist() == pytest.approx([float(value) for value in rows], rel=1e-12)
    assert torch.equal(Objective().nll(logits, labels), Objective().nll(resized, labels))
    same = draw(2, CLASSES, 8, 12)
    assert of_pixels(same, labels) is same


def test_half_precision_is_widened_and_the_mean_of_a_batch_keeps_its_graph():
    labels = masks(2, 4, 4)
    assert Objective().nll(draw(2, CLASSES, 4, 4).bfloat16(), labels).dtype == torch.float32
    model = nn.Conv2d(3, CLASSES, 1).double()
    batch = Batch(draw(2, 3, 4, 4), labels, torch.arange(2))
    loss = Objective().mean_nll(Readout().after(model), batch, model.weight)
    (first,) = torch.autograd.grad(loss, model.weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), model.weight)
    assert second.abs().sum() > 0


@pytest.mark.parametrize(
    ("labels", "size", "told"),
    [
        (torch.full((2, 4, 4), 3), None, r"must be 0 to 2, the classes of the model, or 255 .*; got 3 in image 7"),
        (torch.full((2, 4, 4), -1), None, r"must be 0 to 2, .*; got -1 in image 7"),
        (torch.zeros(2, 4, 6, dtype=torch.int64), (4, 4), r"size of their images, which are 4 x 4; got 4 x 6"),
    ],
)
def test_masks_that_no_loss_can_be_taken_of(labels, size, told):
    with pytest.raises(DataError, match=told):
        Objective().targets(batch_of(labels, size), CLASSES)


def test_an_image_without_a_pixel_that_counts_is_left_out_of_the_mean():
    labels, images = masks(3, 4, 4), draw(3, 3, 4, 4)
    labels[1] = IGNORED
    model, batch, rest = nn.Conv2d(3, CLASSES, 1).double(), Batch(images, labels, torch.arange(3)), [0, 2]
    losses = Objective().nll(model(images), labels)
    assert losses[1] == 0
    assert counting(batch) == 2
    found = Objective().mean_nll(Readout().after(model), batch, model.weight)
    expected = Objective().nll(model(images[rest]), labels[rest]).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-14)
    some, other = (torch.autograd.grad(value, model.weight)[0] for value in (found, expected))
    assert torch.allclose(some, other, rtol=1e-12)


def test_where_no_pixel_of_a_batch_counts_there_is_no_mean():
    empty = batch_of(torch.full((2, 4, 4), IGNORED))
    model = nn.Conv2d(3, CLASSES, 1)
    with pytest.raises(DataError, match=r"a batch needs a pixel that counts; all of image 7 and the others .* 255"):
        Objective().mean_nll(Readout().after(model), empty, model.weight)
    assert counting(Batch(empty.images, None, empty.positions)) == 2


def test_where_outcomes_are_told_each_image_needs_a_pixel_that_counts():
    labels = masks(3, 4, 4)
    check_each_counts(batch_of(labels))
    labels[1] = IGNORED
    batch = batch_of(labels)
    with pytest.raises(DataError, match=r"each image needs a pixel that counts; all of image 8 are 255, ignored"):
        check_each_counts(batch)
    with pytest.raises(DataError, match="all of image 8 are 255, ignored"):
        evaluate_masks(nn.Conv2d(3, CLASSES, 1), [batch], readout=Readout(place=(), columns=CLASSES, dense=True))


def test_a_classifier_given_masks_and_a_dense_network_given_labels_are_refused():
    with pytest.raises(DataError, match=r"logits per image, .* needs class labels; the data have masks"):
        Objective().nll(draw(2, CLASSES), masks(2, 4, 4))
    with pytest.raises(DataError, match=r"logits per pixel, .* needs masks; the data have class labels"):
        Objective().nll(draw(2, CLASSES, 4, 4), torch.zeros(2, CLASSES, dtype=torch.float64))


MAPS = draw(4, CLASSES, 2, 2).float()
IMAGES = torch.zeros(4, 3, 2, 2)


def found(returned, counts=None, **asked):
    return find_readout(lambda images: returned, IMAGES, counts or ClassCounts(stated=(CLASSES,)), **asked)


@pytest.mark.parametrize(
    ("returned", "place"),
    [
        (MAPS, ()),
        ({"out": MAPS, "aux": MAPS + 1}, ("out",)),
        ({"loss": torch.tensor(1.0), "logits": MAPS, "hidden_states": (MAPS,)}, ("logits",)),
        ([MAPS[:, :2], MAPS], (1,)),
    ],
)
def test_logits_per_pixel_are_found(returned, place):
    some = found(returned)
    assert (some.place, some.dense, some.columns) == (place, True, CLASSES)
    assert some.logits(returned).shape == MAPS.shape


def test_a_single_logit_per_pixel_is_read_against_zero():
    one = MAPS[:, :1]
    some = found(one, ClassCounts())
    assert (some.dense, some.classes) == (True, 2)
    assert torch.equal(some.logits(one), torch.cat([torch.zeros_like(one), one], 1))


def test_probabilities_per_pixel_are_known():
    with pytest.raises(DataError, match=r"went through a softmax, .* each pixel sums to 1; return the logits, or say"):
        found(MAPS.softmax(1))
    logits = found(MAPS.softmax(1), output_is="probabilities").logits(MAPS.softmax(1))
    assert torch.allclose(logits, MAPS.log_softmax(1), atol=1e-5)
    with pytest.raises(DataError, match=r"each, as for several labels per image, so no pixel is a distribution"):
        find_readout(lambda images: MAPS.sigmoid(), IMAGES, ClassCounts())
    with pytest.raises(DataError, match="gives 3 features, not logits: num_classes is 0"):
        found(MAPS, ClassCounts(headless="num_classes is 0"))
