"""Scores: their formula, their weights, what they say of odd input, and that the model is left as it was."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from timm.utils import accuracy
from torch import Tensor, nn

from reference.scores import scores as slow_scores
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch, InputConfig
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, DataError, VisionscopeError
from visionscope.training.evaluation import Scores, clean_batches, evaluate
from visionscope.training.feed import load_images
from visionscope.training.images import Images, decode

CONFIG = InputConfig(size=(4, 4), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
SMOOTH = Objective(label_smoothing=0.1)


class Given(nn.Module):
    """Images carry their logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def batches(logits: Tensor, labels: Tensor, size: int = 7) -> Iterator[Batch]:
    for places in torch.arange(len(labels)).split(size):
        yield Batch(logits[places][:, None, None], labels[places], places)


def random(count: int = 40, classes: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * 3
    return logits, torch.randint(classes, (count,), generator=generator)


@given(count=st.integers(1, 30), classes=st.integers(2, 12), size=st.integers(1, 9), ties=st.booleans())
def test_clean_images_are_scored_as_in_the_slow_twin_whatever_the_smoothing(
    count: int, classes: int, size: int, ties: bool
) -> None:
    logits, labels = random(count, classes, seed=count)
    logits = logits.round() if ties else logits
    found = evaluate(Given(), batches(logits, labels, size), SMOOTH)
    first, among, nll = slow_scores(
        logits.double().numpy(), [{int(label): 1.0} for label in labels], classes, min(5, classes)
    )
    assert found.images == count
    assert (found.top_1, found.top_5) == (first, among)
    assert found.nll == pytest.approx(nll, rel=1e-6, abs=1e-7)


def test_hits_are_timm_s_where_no_two_logits_are_equal() -> None:
    logits, labels = random(200)
    found = evaluate(Given(), batches(logits, labels), Objective())
    first, fifth = accuracy(logits, labels, topk=(1, 5))
    assert found.top_1 * 100 == pytest.approx(first.item())
    assert found.top_5 * 100 == pytest.approx(fifth.item())
    assert 0.02 < found.top_1 < found.top_5 < 0.9


def test_mixed_images_have_soft_targets_and_count_for_the_class_with_the_largest_share() -> None:
    logits, labels = random(20)
    partners, shares = labels.flip(0), torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
    batch = Batch(logits[:, None, None], labels, torch.arange(20), partners=partners, shares=shares)
    targets = []
    for label, partner, share in zip(labels.tolist(), partners.tolist(), shares.tolist(), strict=True):
        target = dict.fromkeys(range(12), 0.1 / 12)
        target[label] += 0.9 * share
        target[partner] += 0.9 * (1 - share)
        targets.append(target)
    first, among, nll = slow_scores(logits.double().numpy(), targets, 12, 5)
    found = evaluate(Given(), [batch], SMOOTH)
    assert (found.top_1, found.top_5) == (first, among)
    assert found.nll == pytest.approx(nll, rel=1e-6)
    assert found.nll != pytest.approx(evaluate(Given(), batches(logits, labels), SMOOTH).nll, rel=0.01)


def test_a_small_last_batch_weighs_what_its_images_weigh() -> None:
    logits, labels = random(10)
    one = evaluate(Given(), batches(logits, labels, 10), Objective())
    assert evaluate(Given(), batches(logits, labels, 9), Objective()).nll == pytest.approx(one.nll, rel=1e-12)


def test_extreme_logits_have_a_finite_nll() -> None:
    # The official code averages probabilities, of which this one is 0, and gets infinity.
    logits, labels = torch.tensor([[0.0, 20_000.0], [0.0, -20_000.0]]), torch.tensor([0, 0])
    assert evaluate(Given(), batches(logits, labels), Objective()).nll == 10_000.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_model_and_the_image(value: float) -> None:
    logits, labels = random(20)
    logits[16, 3] = value
    with pytest.raises(VisionscopeError, match=r"^toy: the NLL of image 16 is nan$"):
        evaluate(Given(), batches(logits, labels), Objective(), label="toy")


def test_processes_add_their_sums() -> None:
    logits, labels = random(20)
    whole = evaluate(Given(), batches(logits, labels), Objective())
    seen: list[Tensor] = []
    evaluate(Given(), batches(logits[:4], labels[:4]), Objective(), reduce=lambda sums: seen.append(sums) or sums)
    joined = evaluate(Given(), batches(logits[4:], labels[4:]), Objective(), reduce=lambda sums: sums + seen[0])
    assert (joined.images, joined.top_1, joined.top_5) == (whole.images, whole.top_1, whole.top_5)
    assert joined.nll == pytest.approx(whole.nll, rel=1e-12)


def test_the_model_is_in_eval_mode_meanwhile_and_then_as_before() -> None:
    seen = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.free = nn.BatchNorm2d(1), nn.Linear(1, 1)

        def forward(self, images: Tensor) -> Tensor:
            seen.append((self.training, self.frozen.training, torch.is_grad_enabled()))
            return images.flatten(1)

    model = Watching().train()
    model.frozen.eval()
    logits, labels = random(3)
    evaluate(model, batches(logits, labels), Objective())
    assert seen == [(False, False, False)]
    assert (model.training, model.frozen.training, model.free.training) == (True, False, True)
    with pytest.raises(DataError, match="a label is 12, but the model has 12 classes"):
        evaluate(model, batches(logits, labels * 0 + 12), Objective())
    assert (model.training, model.frozen.training, model.free.training) == (True, False, True)


def test_the_loss_of_narrow_logits_is_computed_in_float32() -> None:
    class Narrow(Given):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).bfloat16()

    logits, labels = random(50)
    narrow = logits.bfloat16().float()
    wide = evaluate(Given(), batches(narrow, labels), Objective())
    assert evaluate(Narrow(), batches(narrow, labels), Objective()) == wide


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^toy: there are no images to score it on$"):
        evaluate(Given(), [], Objective(), label="toy")


@pytest.mark.parametrize(("count", "processes"), [(10, 1), (10, 3), (2, 3)])
def test_clean_batches_show_each_image_once_over_all_processes(count: int, processes: int) -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 4, 4)
    images = Images(pixels=pixels, labels=torch.arange(12) % 5)
    chosen = torch.arange(12).flip(0)[:count]
    seen = []
    for rank in range(processes):
        for batch in clean_batches(images, CONFIG, 4, rank=rank, processes=processes, chosen=chosen):
            assert batch.labels is not None
            assert 1 <= len(batch.images) <= 4
            assert batch.labels.tolist() == [place % 5 for place in batch.positions.tolist()]
            expected = (batch.positions / 255 - 0.2) / 1.0
            torch.testing.assert_close(batch.images[:, 1, 2, 3], expected.float())
            seen += batch.positions.tolist()
    assert seen == chosen.tolist()


def test_clean_batches_from_a_source_are_those_from_memory() -> None:
    source = open_source("embedded:val")
    config = InputConfig(size=(24, 20), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), crop=0.9)
    chosen = torch.tensor([5, 900, 17])
    (read,) = clean_batches(source, config, 8, chosen=chosen)
    (held,) = clean_batches(decode(source, config), config, 8, chosen=chosen)
    torch.testing.assert_close(held.images, read.images, rtol=0, atol=0)
    assert held.labels is not None
    assert read.labels is not None
    assert held.labels.tolist() == read.labels.tolist() == [5, 0, 7]
    assert isinstance(load_images(source, config), Images)


def test_the_slow_twin_knows_a_value_by_hand() -> None:
    first, among, nll = slow_scores(np.array([[0.0, math.log(3.0)], [0.0, 0.0]]), [{1: 1.0}, {1: 1.0}], 2, 1)
    assert (first, among) == (0.5, 0.5)
    assert nll == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_an_accuracy_comes_with_wilsons_interval() -> None:
    scores = Scores(images=10_000, top_1=0.852, top_5=0.99, nll=0.5)
    theirs = binomtest(8_520, 10_000).proportion_ci(method="wilson")
    assert scores.top_1_interval == pytest.approx((theirs.low, theirs.high), abs=1e-12)
