import random
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import png
from PIL import Image

from visionscope.core.sample import InputConfig
from visionscope.data.augmentation import Augmentation, evaluation_transform, fitting, frozen_transform
from visionscope.data.decode import decode
from visionscope.errors import ConfigError, DataError

CONFIG = InputConfig(size=(32, 32), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
IMAGE = decode(png(width=32, height=32), "image")
STRONG = Augmentation(rand_augment="rand-m9-n2-mstd1.0", erase=0.5)


def _states() -> tuple:
    numpy_state = np.random.get_state()
    return random.getstate(), numpy_state[1].tolist(), numpy_state[2:], torch.get_rng_state().tolist()


@given(index=st.integers(0, 10**9), seed=st.integers(0, 2**63))
def test_the_draw_is_of_seed_and_index_alone(index: int, seed: int) -> None:
    apply = frozen_transform(CONFIG, STRONG, seed)
    first = apply(IMAGE, index)
    random.seed(index)
    np.random.seed(seed % 2**32)
    torch.manual_seed(index)
    apply(IMAGE, index + 1)
    assert torch.equal(frozen_transform(CONFIG, STRONG, seed)(IMAGE, index), first)


def test_other_images_and_other_seeds_get_other_draws() -> None:
    apply = frozen_transform(CONFIG, STRONG, 0)
    outcomes = [apply(IMAGE, index) for index in range(20)] + [frozen_transform(CONFIG, STRONG, 1)(IMAGE, 0)]
    for number, outcome in enumerate(outcomes):
        assert not any(torch.equal(outcome, other) for other in outcomes[:number])


def test_the_global_generators_are_left_as_found() -> None:
    before = _states()
    frozen_transform(CONFIG, STRONG, 0)(IMAGE, 5)
    assert _states() == before


def test_the_global_generators_are_left_as_found_after_an_error() -> None:
    before = _states()
    with pytest.raises(TypeError, match="Unexpected type"):
        frozen_transform(CONFIG, STRONG, 0)("no image", 5)  # type: ignore[arg-type]
    assert _states() == before


def test_threads_do_not_disturb_each_other() -> None:
    apply = frozen_transform(CONFIG, STRONG, 0)
    expected = [apply(IMAGE, index) for index in range(60)]
    seen: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda first=first: seen.update({i: apply(IMAGE, i) for i in range(first, 60, 4)}))
        for first in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(seen[index], expected[index]) for index in range(60))


def test_pad_crop_shifts_by_at_most_the_padding() -> None:
    apply = frozen_transform(CONFIG, Augmentation(crop="pad", padding=4, flip=0.0), 0)
    padded = np.pad(np.asarray(IMAGE, dtype=np.float32) / 255, ((4, 4), (4, 4), (0, 0)))
    shifts = set()
    for index in range(60):
        pixels = apply(IMAGE, index).numpy().transpose(1, 2, 0)
        found = [(y, x) for y in range(9) for x in range(9) if (padded[y : y + 32, x : x + 32] == pixels).all()]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 30
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(9))


def test_flips_come_with_their_probability() -> None:
    plain = torch.from_numpy(np.asarray(IMAGE, dtype=np.float32).transpose(2, 0, 1) / 255)
    apply = frozen_transform(CONFIG, Augmentation(crop="centre", flip=0.25), 0)
    outcomes = [apply(IMAGE, index) for index in range(400)]
    flipped = sum(torch.equal(outcome, plain.flip(2)) for outcome in outcomes)
    assert flipped + sum(torch.equal(outcome, plain) for outcome in outcomes) == 400
    # Binomial(400, 1/4): mean 100, standard deviation 8.7.
    assert 65 <= flipped <= 135


def test_no_augmentation_at_all_is_evaluation() -> None:
    config = InputConfig(size=(20, 24), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), crop=0.8)
    from visionscope.data.augmentation import evaluation_transform

    frozen = frozen_transform(config, Augmentation(crop="centre", flip=0.0), 0)(IMAGE, 1)
    assert torch.equal(frozen, evaluation_transform(config)(IMAGE))


@pytest.mark.parametrize("crop", ["centre", "pad", "resized"])
def test_sizes_and_channels(crop: str) -> None:
    config = InputConfig(size=(20, 28), mean=(0.5,), std=(0.5,))
    apply = frozen_transform(config, Augmentation(crop=crop, rand_augment="rand-m5-n2"), 0)
    assert all(apply(IMAGE, index).shape == (1, 20, 28) for index in range(8))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"crop": "center"}, r"crop: must be one of centre, pad, resized; got 'center'\. Did you mean 'centre'\?"),
        ({"area": (0.0, 1.0)}, r"area: each must be a number above 0 and at most 1; got 0\.0"),
        ({"area": (0.9, 0.5)}, r"area: must be a least and a largest share, in that order; got \[0\.9, 0\.5\]"),
        ({"padding": -1}, r"padding: must be an integer from 0 to 1024; got -1"),
        ({"flip": 1.5}, r"flip: must be a number from 0 to 1; got 1\.5"),
        ({"erase": -0.1}, r"erase: must be a number from 0 to 1; got -0\.1"),
        ({"rand_augment": "randaug"}, r"rand_augment: must be a recipe like 'rand-m9-n2-mstd1\.0'; got 'randaug'"),
    ],
)
def test_wrong_parameters(arguments: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Augmentation(**arguments)


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ConfigError, match="rand_augment 'rand-q9' is not a recipe that timm knows"):
        frozen_transform(CONFIG, Augmentation(rand_augment="rand-q9"), 0)


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (3, 89_000)])
def test_a_stripe_is_not_blown_up(size: tuple[int, int]) -> None:
    config = InputConfig(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    for apply in (evaluation_transform(config), fitting(config)):
        with pytest.raises(DataError, match=r"it is too narrow, for on the way it would have [\d,]+ pixels; at most"):
            apply(Image.new("RGB", size))
        apply(Image.new("RGB", (1, 200)))
