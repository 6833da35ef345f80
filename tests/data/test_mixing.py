"""Mixup and CutMix, frozen: against a twin, against timm, and against the pixels themselves."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_sample import SMALL, Plain
from timm.data.mixup import Mixup
from torch import Tensor

from visionscope.core.sample import MINI_BATCH, Batch, InputConfig
from visionscope.data.augmentation import Augmentation, mix, paper_augmentation
from visionscope.data.sample import Sample
from visionscope.errors import ConfigError

PLAIN = {"crop": "centre", "flip": 0.0}
MIXUP = Augmentation(**PLAIN, mixup=1.0)
CUTMIX = Augmentation(**PLAIN, cutmix=0.8)
BOTH = Augmentation(**PLAIN, mixup=1.0, cutmix=0.8)
CONFIG = InputConfig(size=(12, 16), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Pictures(Plain):
    """Every pixel of every image its own colour."""

    def image(self, index: int) -> Image.Image:
        pixels = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def sample(augmentation: Augmentation | None, count: int = 37, seed: int = 5) -> Sample:
    return Sample(Pictures(count), CONFIG, None, seed, augmentation)


def whole(given: Sample) -> Batch:
    (batch,) = given.batches(batch_size=len(given))
    return batch


def twin(images: np.ndarray, augmentation: Augmentation, seed: int, number: int) -> tuple[np.ndarray, float]:
    """One mini-batch mixed pixel by pixel in float64, from the same draws made by hand."""
    entropy = hashlib.sha256(f"{seed}/mini-batch/{number}".encode()).digest()
    draws = np.random.RandomState(np.frombuffer(entropy[8:24], dtype="<u4"))
    alpha, cuts = (augmentation.mixup, False) if augmentation.mixup else (augmentation.cutmix, True)
    if augmentation.mixup and augmentation.cutmix:
        cuts = draws.random_sample() < 0.5
        alpha = augmentation.cutmix if cuts else augmentation.mixup
    share = draws.beta(alpha, alpha)
    count, _, height, width = images.shape
    own = np.full((height, width), share)
    if cuts:
        side = math.sqrt(1 - share)
        cut = int(height * side), int(width * side)
        centre = draws.randint(0, height), draws.randint(0, width)
        own = np.ones((height, width))
        for y in range(height):
            for x in range(width):
                inside = [
                    c - length // 2 <= at < c + (length + 1) // 2
                    for at, c, length in zip((y, x), centre, cut, strict=True)
                ]
                own[y, x] = 0.0 if all(inside) else 1.0
    mixed = np.empty_like(images)
    for place in range(count):
        mixed[place] = own * images[place] + (1 - own) * images[count - 1 - place]
    return mixed, own.mean()


@pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX, BOTH])
def test_every_mini_batch_is_its_twin(augmentation: Augmentation) -> None:
    plain, mixed = whole(sample(None, 200)), whole(sample(augmentation, 200))
    for number, first in enumerate(range(0, 200, MINI_BATCH)):
        own = slice(first, min(first + MINI_BATCH, 200))
        expected, share = twin(plain.images[own].double().numpy(), augmentation, 5, number)
        assert np.abs(mixed.images[own].double().numpy() - expected).max() < 1e-6
        assert mixed.shares[own].tolist() == pytest.approx([share] * len(expected), rel=1e-14)
        assert torch.equal(mixed.partners[own], plain.labels[own].flip(0))
    assert torch.equal(mixed.labels, plain.labels)
    assert mixed.shares.dtype == torch.float64


def test_the_draws_are_fixed_for_ever() -> None:
    shares = whole(sample(BOTH, 80)).shares[::MINI_BATCH]
    assert shares.tolist() == pytest.approx(SHARES_OF_SEED_5, rel=1e-12)


@pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX, BOTH, Augmentation(mixup=1.0, cutmix=0.8, erase=0.5)])
@pytest.mark.parametrize("size", [1, 7, 16, 20, 37])
def test_batches_and_parts_that_cut_a_mini_batch_change_nothing(augmentation: Augmentation, size: int) -> None:
    given, expected = sample(augmentation), whole(sample(augmentation))
    assert_equal(list(given.batches(batch_size=size)), expected, 0, 37)
    for start, stop in ((0, 5), (3, 30), (15, 17), (16, 32), (33, 36), (36, 37), (20, 20)):
        found = list(given.batches(start, stop, size))
        assert [len(batch.positions) for batch in found[:-1]] == [size] * len(found[:-1])
        assert_equal(found, expected, start, stop)


def assert_equal(found: list[Batch], expected: Batch, start: int, stop: int) -> None:
    assert sum(len(batch.positions) for batch in found) == stop - start
    for name in ("images", "labels", "positions", "partners", "shares"):
        together = [getattr(batch, name) for batch in found]
        assert not together or torch.equal(torch.cat(together), getattr(expected, name)[start:stop])


def test_the_last_mini_batch_is_mixed_within_itself() -> None:
    plain, mixed = whole(sample(None)), whole(sample(MIXUP))
    assert mixed.partners[32:].tolist() == plain.labels[32:].flip(0).tolist()
    # The middle one of five is its own partner.
    assert torch.allclose(mixed.images[34], plain.images[34], atol=1e-6)
    longer = whole(Sample(Pictures(37), CONFIG, 32, 5, MIXUP))
    assert torch.equal(longer.images, mixed.images[:32])


def test_seed_and_number_alone_make_the_draw() -> None:
    images = torch.rand(16, 3, 12, 16)
    shares = {(seed, number): mix(images.clone(), MIXUP, seed, number) for seed in range(5) for number in range(5)}
    assert len(set(shares.values())) == 25
    state = np.random.get_state()[1].tolist()
    assert mix(images.clone(), MIXUP, 3, 4) == shares[3, 4]
    assert np.random.get_state()[1].tolist() == state


@settings(max_examples=60)
@given(seed=st.integers(0, 2**40), height=st.integers(1, 30), width=st.integers(1, 30), count=st.integers(1, 16))
def test_cutmix_s_share_is_that_of_the_pixels(seed: int, height: int, width: int, count: int) -> None:
    """Image i is painted i: what is left of the colour is the share."""
    images = torch.arange(count, dtype=torch.float32)[:, None, None, None].repeat(1, 2, height, width)
    share = mix(images, CUTMIX, seed, 0)
    assert 0 <= share <= 1
    for place in range(count):
        own = (images[place] == place).double().mean().item()
        assert own == (pytest.approx(share, abs=1e-12) if 2 * place + 1 != count else 1)
    assert set(images.unique().tolist()) <= set(range(count))


def distribution(shares: list[float]) -> tuple[float, float]:
    return float(np.mean(shares)), float(np.std(shares))


def timm_s(images: Tensor, augmentation: Augmentation) -> float:
    mixer = Mixup(augmentation.mixup, augmentation.cutmix, label_smoothing=0.0, num_classes=2)
    _, target = mixer(images, torch.tensor([0] * 8 + [1] * 8))
    return float(target[0, 0])


@pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX, BOTH])
def test_shares_are_distributed_as_timm_s(augmentation: Augmentation) -> None:
    """Mean and spread of 2,000 shares each: their standard errors are below 0.008."""
    np.random.seed(0)
    images = torch.zeros(16, 1, 32, 32)
    ours = [mix(images.clone(), augmentation, 1, number) for number in range(2000)]
    theirs = [timm_s(images.clone(), augmentation) for _ in range(2000)]
    assert distribution(ours) == pytest.approx(distribution(theirs), abs=0.03)
    assert all(0 <= share <= 1 for share in ours)


def test_half_of_the_mini_batches_are_cut_where_both_are_on() -> None:
    images = torch.arange(16.0)[:, None, None, None].repeat(1, 1, 8, 8)
    kinds = []
    for number in range(400):
        mixed = images.clone()
        mix(mixed, BOTH, 2, number)
        kinds.append(bool((mixed == mixed.round()).all()))
    # Binomial(400, 1/2): mean 200, standard deviation 10.
    assert 160 <= sum(kinds) <= 240


def test_unknown_labels_stay_unknown() -> None:
    class Unlabelled(Plain):
        def label(self, index: int) -> int | None:
            return None if index == 3 else index

    batch = whole(Sample(Unlabelled(20), SMALL, None, 0, MIXUP))
    assert (batch.labels, batch.partners) == (None, None)
    assert batch.shares is not None


def test_identity_of_what_does_not_mix_is_what_it_was() -> None:
    old = (
        '{"area": [0.08, 1.0], "crop": "pad", "erase": 0.0, "flip": 0.5, "padding": 4, '
        '"rand_augment": "rand-m9-n2-mstd1.0"}'
    )
    unmixed = Augmentation(crop="pad", rand_augment="rand-m9-n2-mstd1.0")
    assert unmixed.identity() == old
    mixing = [Augmentation(mixup=1.0), Augmentation(cutmix=1.0), Augmentation(mixup=1.0, cutmix=1.0)]
    assert len({each.identity() for each in [Augmentation(), *mixing]}) == 4
    digests = {Sample(Plain(20), SMALL, None, 0, each).digest for each in [Augmentation(), *mixing]}
    assert len(digests) == 4


def test_the_paper_s_recipes() -> None:
    large = InputConfig(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert paper_augmentation("strong", CONFIG) == Augmentation(
        crop="pad", padding=4, flip=0.5, rand_augment="rand-m9-n2-mstd1.0", mixup=1.0, cutmix=0.8
    )
    assert paper_augmentation("strong", large) == Augmentation(
        crop="resized", flip=0.5, rand_augment="rand-m9-n2-mstd0.5", erase=0.25, mixup=1.0, cutmix=0.8
    )
    assert paper_augmentation("weak", CONFIG) == Augmentation(crop="pad", padding=4, flip=0.5)
    assert paper_augmentation("weak", large) == Augmentation(crop="resized", flip=0.5)
    assert paper_augmentation("none", large) is None
    with pytest.raises(ConfigError, match=r"augmentation: must be one of .*; got 'stong'. Did you mean 'strong'\?"):
        paper_augmentation("stong", CONFIG)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, 1e-320])
def test_wrong_alphas(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: must be (a number from 0 to 1000|0 or at least 1e-06); got"):
        Augmentation(**{name: value})


SHARES_OF_SEED_5 = [0.7916666666666666, 0.875, 0.38155808729523105, 0.8888226686954497, 0.890625]
