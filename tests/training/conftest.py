"""What the training's tests share: a small network, images that it can learn, and one short training."""

import numpy as np
import pytest
from PIL import Image

from visionscope.training.train import Trained, train

# A network that costs nothing: the loop is what is tested.
SMALL = "resnet_nano?channels=(8,8,8)&stem_width=4&layers=(1,1,1)"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Class folders of noise that is dark, light or middling."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 128), ("test", 32)):
        for level, name in enumerate(("dark", "light", "middling")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (16, 16, 3)) + (0, 120, 60)[level]
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{index}.png")
    return str(folder)


@pytest.fixture(scope="session")
def short(data: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """8 epochs of 12 steps."""
    folder = tmp_path_factory.mktemp("run")
    return train(
        SMALL, data, folder, epochs=8, learning_rate=4e-3, batch_size=32, snapshots=(2, 5), ema=0.9, validation=0.25
    )
