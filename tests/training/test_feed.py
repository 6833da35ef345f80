"""The feed: batches are a function of the step alone, passes are whole, and processes see what one would see."""

import dataclasses
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from visionscope.core.sample import Batch, InputConfig
from visionscope.data.augmentation import Augmentation, frozen_transform, paper_augmentation
from visionscope.data.share import split_by_class
from visionscope.data.sources import Source, open_source
from visionscope.errors import ConfigError, DataError
from visionscope.training import feed as module
from visionscope.training.feed import Feed, load_images
from visionscope.training.images import Images, normalise

SIDE = 12
CONFIG = InputConfig(size=(SIDE, SIDE), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
PLAIN = Augmentation(crop="pad", padding=2)
BY_PILLOW = dataclasses.replace(PLAIN, rand_augment="rand-m9-n2-mstd1.0", erase=0.3)
RESIZED = Augmentation(crop="resized", area=(0.3, 1.0))
KINDS = {"none": None, "shifts": PLAIN, "pillow": BY_PILLOW, "resized": RESIZED}
SHARED = Path(os.environ.get("VISIONSCOPE_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "cifar10"


def in_memory(count: int = 25) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return Images(pixels=pixels, labels=torch.arange(count) % 5)


def feed_of(images: Images | Source, augmentation: Augmentation | None, batch_size: int = 6, **more: Any) -> Feed:
    return Feed(images, CONFIG, augmentation, **{"batch_size": batch_size, "seed": 3, **more})


def assert_same(first: Batch, second: Batch) -> None:
    for field in dataclasses.fields(Batch):
        one, other = (getattr(batch, field.name) for batch in (first, second))
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def generators() -> list[Any]:
    _, keys, *place = np.random.get_state()
    return [random.getstate(), keys.tolist(), place, torch.get_rng_state().tolist()]


@pytest.fixture(scope="module")
def drawn() -> Source:
    return open_source("embedded:val", size=16)


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
@pytest.mark.parametrize("held", [True, False])
def test_a_batch_depends_on_its_step_alone(kind: str, held: bool, drawn: Source) -> None:
    images = in_memory() if held else drawn
    augmentation = KINDS.get(kind, dataclasses.replace(PLAIN, mixup=1.0, cutmix=0.8))
    feed = feed_of(images, augmentation)
    before = generators()
    steps = [feed.batch(step) for step in (9, 0, 4)]
    assert generators() == before
    torch.rand(1), random.random(), np.random.rand()
    later = generators()
    assert all(one != other for one, other in zip(before[:1] + before[2:], later[:1] + later[2:], strict=True))
    for step, batch in zip((9, 0, 4), steps, strict=True):
        assert_same(feed_of(images, augmentation).batch(step), batch)
        assert batch.images.dtype == torch.float32
        assert batch.images.shape == (6, 3, SIDE, SIDE)
    for batch, step in zip(feed.batches(4, 6), (4, 5), strict=True):
        assert_same(batch, feed.batch(step))
    assert generators() == later
    other = feed_of(images, augmentation, seed=4).batch(0)
    assert not torch.equal(other.images, steps[1].images)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), processes=st.integers(1, 3), seed=st.integers(0, 2**70))
def test_each_pass_shows_every_image_once_without_a_seam(
    count: int, batch_size: int, processes: int, seed: int
) -> None:
    images = in_memory(count + 2)
    chosen = torch.arange(count + 2).flip(0)[:count]
    ranks = [
        Feed(images, CONFIG, None, batch_size=batch_size, seed=seed, rank=rank, processes=processes, chosen=chosen)
        for rank in range(processes)
    ]
    steps = -(-3 * count // (batch_size * processes))
    seen = []
    for step in range(steps):
        for feed in ranks:
            batch = feed.batch(step)
            assert len(batch.positions) == batch_size
            assert torch.equal(batch.images, normalise(images.pixels[batch.positions], CONFIG))
            assert batch.labels is not None
            assert torch.equal(batch.labels, images.labels[batch.positions])
            seen += batch.positions.tolist()
    for turn in range(3):
        assert sorted(seen[turn * count : (turn + 1) * count]) == sorted(chosen.tolist())
    assert len(ranks[0]) == count


def test_passes_have_orders_of_their_own() -> None:
    feed = feed_of(in_memory(24), None, 24)
    orders = {tuple(feed.batch(step).positions.tolist()) for step in range(20)}
    assert len(orders) == 20
    first = [feed.batch(step).positions[0].item() for step in range(200)]
    assert len(set(first)) == 24


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [True, False])
def test_two_processes_see_what_one_sees_with_twice_the_batch(kind: str, held: bool, drawn: Source) -> None:
    images = in_memory() if held else drawn
    one = feed_of(images, KINDS[kind], 8)
    two = [feed_of(images, KINDS[kind], 4, rank=rank, processes=2) for rank in range(2)]
    for step in (0, 3, 7):
        whole, halves = one.batch(step), [feed.batch(step) for feed in two]
        assert torch.equal(whole.images, torch.cat([half.images for half in halves]))
        assert torch.equal(whole.positions, torch.cat([half.positions for half in halves]))


@pytest.mark.parametrize("held", [True, False])
def test_workers_change_nothing(held: bool, drawn: Source) -> None:
    images = in_memory() if held else drawn
    augmentation = dataclasses.replace(BY_PILLOW, mixup=1.0)
    alone, helped = feed_of(images, augmentation), feed_of(images, augmentation, workers=2)
    before = generators()
    for step, batch in zip(range(5, 11), helped.batches(5), strict=False):
        assert_same(batch, alone.batch(step))
    assert generators() == before
    assert len(list(helped.batches(2, 5))) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_can_t_be_read_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "torn.png").write_bytes(b"no image")
    source = open_source(str(tmp_path))
    with pytest.raises(DataError, match=r"^image .*torn\.png can't be decoded: not an image of a known format$"):
        list(feed_of(source, RESIZED, 1, workers=workers).batches(0, 1))


def shown(tensor: Tensor) -> Tensor:
    """The bytes behind a normalised image."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CONFIG.mean, CONFIG.std))
    return ((tensor * std + mean) * 255).round().byte()


def test_shifts_in_memory_are_torchvision_s_crops_of_a_black_border_all_equally_often() -> None:
    images = in_memory(5)
    counts: dict[tuple[int, int, bool], int] = {}
    every: dict[int, dict[bytes, tuple[int, int, bool]]] = {index: {} for index in range(5)}
    for index in range(5):
        framed = functional.pad(functional.to_pil_image(images.pixels[index]), [2])
        for top in range(5):
            for left in range(5):
                crop = functional.crop(framed, top, left, SIDE, SIDE)
                for mirrored in (False, True):
                    kept = functional.hflip(crop) if mirrored else crop
                    every[index][functional.pil_to_tensor(kept).numpy().tobytes()] = (top, left, mirrored)
    feed = feed_of(images, PLAIN, 50)
    for step in range(60):
        batch = feed.batch(step)
        for index, image in zip(batch.positions.tolist(), batch.images, strict=True):
            draw = every[index][shown(image).numpy().tobytes()]
            counts[draw] = counts.get(draw, 0) + 1
    # 3,000 draws of 50 outcomes: 60 each, standard deviation 7.7.
    assert len(counts) == 50
    assert min(counts.values()) > 60 - 5 * 7.7
    assert max(counts.values()) < 60 + 5 * 7.7


def test_flips_come_with_their_probability() -> None:
    images = in_memory(5)
    feed = feed_of(images, Augmentation(crop="centre", flip=0.25), 1000)
    batch = feed.batch(0)
    kept = [
        torch.equal(shown(image), images.pixels[index])
        for index, image in zip(batch.positions, batch.images, strict=True)
    ]
    assert 0.25 - 5 * 0.0137 < 1 - sum(kept) / 1000 < 0.25 + 5 * 0.0137
    mirrored = batch.images[kept.index(False)].flip(2)
    assert torch.equal(shown(mirrored), images.pixels[batch.positions[kept.index(False)]])


def test_pillow_s_draws_come_from_seed_pass_and_image() -> None:
    images = in_memory(4)
    transform = frozen_transform(CONFIG, BY_PILLOW, 3)
    feed = feed_of(images, BY_PILLOW, 4)
    for turn in (0, 5):
        batch = feed.batch(turn)
        for index, image in zip(batch.positions.tolist(), batch.images, strict=True):
            picture = Image.fromarray(images.pixels[index].permute(1, 2, 0).numpy())
            assert torch.equal(image, transform(picture, index, turn))
            assert not torch.equal(image, transform(picture, index, turn + 1))
            assert not torch.equal(image, transform(picture, index))


def test_a_mixed_batch_says_how_it_was_mixed() -> None:
    images = in_memory()
    mixup = dataclasses.replace(PLAIN, mixup=1.0)
    plain, mixed = (feed_of(images, augmentation).batch(2) for augmentation in (PLAIN, mixup))
    assert mixed.shares is not None
    assert mixed.partners is not None
    assert mixed.labels is not None
    share = float(mixed.shares[0])
    assert 0 < share < 1
    assert torch.equal(mixed.partners, mixed.labels.flip(0))
    torch.testing.assert_close(mixed.images, share * plain.images + (1 - share) * plain.images.flip(0))
    shares = {
        float(feed_of(images, mixup, rank=rank, processes=2).batch(step).shares[0])  # type: ignore[index]
        for rank in range(2)
        for step in range(3)
    }
    assert len(shares) == 6


def test_a_padded_crop_sees_the_whole_image_and_is_cropped_once() -> None:
    source = open_source("embedded:val", size=16)
    config = dataclasses.replace(CONFIG, crop=0.75)
    padded = load_images(source, config, PLAIN)
    centred = load_images(source, config)
    assert isinstance(padded, Images)
    assert isinstance(centred, Images)
    assert not torch.equal(padded.pixels, centred.pixels)
    still = Augmentation(crop="centre", flip=0.0, rand_augment="rand-m0-n0")
    batch = Feed(centred, config, still, batch_size=4, seed=0).batch(0)
    torch.testing.assert_close(batch.images, normalise(centred.pixels[batch.positions], config))
    assert load_images(source, config, RESIZED) is source


def test_a_large_source_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch, drawn: Source) -> None:
    monkeypatch.setattr(module, "_IN_MEMORY", 1000 * 3 * SIDE * SIDE - 1)
    assert load_images(drawn, CONFIG, PLAIN) is drawn
    monkeypatch.setattr(module, "_IN_MEMORY", 1000 * 3 * SIDE * SIDE)
    assert isinstance(load_images(drawn, CONFIG, PLAIN), Images)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**70),
)
def test_a_share_is_of_every_class(labels: list[int], share: float, seed: int) -> None:
    tensor = torch.tensor(labels)
    chosen, rest = split_by_class(tensor, share, seed)
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(labels)))
    assert chosen.tolist() == sorted(chosen.tolist())
    for label in set(labels):
        count = labels.count(label)
        assert int((tensor[chosen] == label).sum()) == max(1, round(share * count))
    again, _ = split_by_class(tensor, share, seed)
    assert torch.equal(chosen, again)


def test_shares_differ_by_their_seed_and_a_smaller_one_lies_in_a_larger() -> None:
    labels = torch.arange(100) % 5
    half, quarter = (set(split_by_class(labels, share, 0)[0].tolist()) for share in (0.5, 0.25))
    assert quarter < half
    assert set(split_by_class(labels, 0.5, 1)[0].tolist()) != half
    with pytest.raises(ConfigError, match="share must be above 0 and at most 1; got 0"):
        split_by_class(labels, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be 1 or more; got 0"),
        ({"seed": -1}, "--seed must be 0 or more; got -1"),
        ({"workers": -1}, "--workers must be 0 or more; got -1"),
        ({"rank": 2, "processes": 2}, "rank must be 0 to 1 of 2 processes; got 2"),
        ({"chosen": torch.arange(0)}, "training needs at least 1 image; got none"),
    ],
)
def test_what_can_t_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        feed_of(in_memory(), PLAIN, **wrong)


@pytest.fixture(scope="module")
def cifar() -> Images:
    if not SHARED.is_dir():
        pytest.skip("needs CIFAR-10 in the data folder that VISIONSCOPE_SHARED points to")
    config = InputConfig(size=(32, 32), mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2))
    images = load_images(open_source(str(SHARED), default_split="test"), config)
    assert isinstance(images, Images)
    return images


def test_cifar_10_is_fed_faster_than_any_network_takes_it(cifar: Images) -> None:
    config = InputConfig(size=(32, 32), mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2))
    assert torch.bincount(cifar.labels).tolist() == [1000] * 10
    feed = Feed(cifar, config, paper_augmentation("weak", config), batch_size=96, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = float("inf")
    for step in range(20):
        start = time.process_time()
        batch = feed.batch(step)
        best = min(best, (time.process_time() - start) / 96)
    torch.set_num_threads(threads)
    assert abs(float(batch.images.mean())) < 0.5
    assert best < 50e-6


def test_an_eighth_of_cifar_10_has_125_images_of_each_class(cifar: Images) -> None:
    chosen, _ = split_by_class(cifar.labels, 1 / 8, 0)
    assert torch.bincount(cifar.labels[chosen]).tolist() == [125] * 10
