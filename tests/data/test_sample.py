import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import png, structs
from PIL import Image
from timm.data.transforms_factory import create_transform

from visionscope.core.sample import SPAN, Batch, InputConfig, SampleLike
from visionscope.data.augmentation import Augmentation
from visionscope.data.sample import Sample, sample_order
from visionscope.data.sources import Source, open_source
from visionscope.errors import ConfigError, DataError

Write = Callable[..., Path]

CONFIG = InputConfig(size=(16, 20), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop=0.9)


@dataclasses.dataclass
class Plain:
    """A source of one-coloured images in memory."""

    count: int
    bad: int = -1
    spec: str = "plain"
    split: str = "all"
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> Image.Image:
        if index == self.bad:
            raise DataError(f"image {self.name(index)} can't be decoded: torn")
        return Image.new("RGB", (4, 4), (index % 256, index // 256, 7))

    def label(self, index: int) -> int | None:
        return index

    def name(self, index: int) -> str:
        return f"row {index}"

    def content(self, index: int) -> bytes:
        return str(index).encode()


SMALL = InputConfig(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _together(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


def test_the_order_is_fixed_for_ever() -> None:
    assert sample_order(12, 0).tolist() == ORDER_OF_SEED_0
    assert sample_order(12, 1).tolist() != ORDER_OF_SEED_0


def test_the_keys_are_those_of_the_pcg64_algorithm() -> None:
    """PCG XSL-RR 128/64 (O'Neill 2014), written out in Python's integers."""
    state, increment = (np.random.PCG64(np.random.SeedSequence(5)).state["state"][key] for key in ("state", "inc"))
    keys = []
    for _ in range(50):
        state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + increment) % 2**128
        folded, turn = (state >> 64 ^ state) % 2**64, state >> 122
        keys.append((folded >> turn | folded << (64 - turn)) % 2**64)
    assert sample_order(50, 5).tolist() == sorted(range(50), key=keys.__getitem__)


@given(count=st.integers(1, 3000), images=st.integers(1, 3000), seed=st.integers(0, 2**40))
def test_a_smaller_sample_begins_a_larger_one(count: int, images: int, seed: int) -> None:
    whole = Sample(Plain(count), SMALL, None, seed)
    assert sorted(whole.indices.tolist()) == list(range(count))
    part = Sample(Plain(count), SMALL, min(images, count), seed)
    assert part.indices.tolist() == whole.indices.tolist()[: len(part)]


@given(count=st.integers(1, 5000), world=st.integers(1, 30))
def test_shards_are_whole_spans_that_cover_the_sample(count: int, world: int) -> None:
    sample = Sample(Plain(count), SMALL, None)
    shards = [sample.shard(rank, world) for rank in range(world)]
    assert [position for shard in shards for position in shard] == list(range(count))
    spans = [-(-len(shard) // SPAN) for shard in shards]
    assert max(spans) - min(spans) <= 1
    assert all(shard.start % SPAN == 0 for shard in shards if len(shard))


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_wrong_ranks(rank: int, world: int) -> None:
    with pytest.raises(ConfigError, match=f"rank must be 0 to .*, not {rank}"):
        Sample(Plain(3), SMALL, None).shard(rank, world)


@pytest.mark.parametrize("augmentation", [None, Augmentation(rand_augment="rand-m9-n2-mstd1.0", erase=0.5)])
def test_batches_are_the_same_however_they_are_cut(class_folder: Write, augmentation: Augmentation | None) -> None:
    source = open_source(str(class_folder({"cat": 9, "dog": 8})))
    sample = Sample(source, CONFIG, None, seed=3, augmentation=augmentation)
    whole = list(sample.batches(batch_size=100))
    assert len(whole) == 1
    assert whole[0].images.shape == (17, 3, 16, 20)
    assert whole[0].images.dtype == torch.float32
    for size in (1, 7, 17):
        cut = list(sample.batches(batch_size=size))
        assert torch.equal(_together(cut), whole[0].images)
        assert torch.cat([batch.positions for batch in cut]).tolist() == list(range(17))
        assert torch.equal(torch.cat([batch.labels for batch in cut]), whole[0].labels)
    (middle,) = sample.batches(5, 9)
    assert torch.equal(middle.images, whole[0].images[5:9])
    assert middle.positions.tolist() == [5, 6, 7, 8]
    assert whole[0].labels.tolist() == [source.label(int(index)) for index in sample.indices]


def test_augmentation_belongs_to_the_image_not_to_its_position(class_folder: Write) -> None:
    source = open_source(str(class_folder({"cat": 12})))
    augmentation = Augmentation(crop="pad", rand_augment="rand-m9-n2-mstd1.0")
    forward, backward = (Sample(source, CONFIG, None, seed=3, augmentation=augmentation) for _ in range(2))
    backward.indices = backward.indices[::-1].copy()
    assert torch.equal(_together(list(forward.batches())), _together(list(backward.batches())).flip(0))
    other = Sample(source, CONFIG, None, seed=4, augmentation=augmentation)
    other.indices = forward.indices
    assert not torch.equal(_together(list(forward.batches())), _together(list(other.batches())))


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        InputConfig(size=(24, 24), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear"),
        InputConfig(size=(10, 10), mean=(0.5,), std=(0.5,), interpolation="nearest", crop=0.875),
    ],
)
def test_the_transform_is_timms(class_folder: Write, config: InputConfig) -> None:
    source = open_source(str(class_folder({"cat": 3})))
    sample = Sample(source, config, None)
    channels = len(config.mean)
    transform = create_transform(
        (channels, *config.size),
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        crop_pct=config.crop,
    )
    for image, index in zip(_together(list(sample.batches())), sample.indices, strict=True):
        assert torch.equal(image, transform(source.image(int(index)).convert("RGB" if channels == 3 else "L")))


def test_the_transform_against_pillow_and_numpy(class_folder: Write) -> None:
    """Resize the shorter side (20 x 16 -> 30 x 24), cut the centre 21, normalise in float64."""
    source = open_source(str(class_folder({"cat": 2})))
    config = InputConfig(size=(21, 21), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), interpolation="bicubic", crop=0.875)
    sample = Sample(source, config, None)
    for image, index in zip(_together(list(sample.batches())), sample.indices, strict=True):
        resized = source.image(int(index)).resize((30, 24), Image.Resampling.BICUBIC)
        cut = np.asarray(resized, dtype=np.float64)[2:23, 4:25]
        expected = (cut / 255 - np.array(config.mean)) / np.array(config.std)
        assert np.abs(image.double().numpy() - expected.transpose(2, 0, 1)).max() < 1e-6


def test_digests_tell_what_differs(class_folder: Write) -> None:
    source = open_source(str(class_folder({"cat": 5, "dog": 5})))

    def digests(**changes: object) -> tuple[str, str]:
        arguments = {"source": source, "input": CONFIG, "images": 8, "seed": 0, "augmentation": None} | changes
        sample = Sample(**arguments)  # type: ignore[arg-type]
        return sample.image_digest, sample.digest

    base = digests()
    assert base == digests()
    other_input = digests(input=dataclasses.replace(CONFIG, crop=0.8))
    assert other_input[0] == base[0]
    seen = [base, digests(images=7), digests(seed=1), digests(augmentation=Augmentation())]
    seen += [digests(augmentation=Augmentation(flip=0.4))]
    assert len({pair[0] for pair in seen}) == len(seen)
    assert len({pair[1] for pair in [*seen, other_input]}) == len(seen) + 1


def test_the_same_images_from_elsewhere_have_the_same_image_digest(class_folder: Write, parquet_folder: Write) -> None:
    folder = Sample(open_source(str(class_folder({"cat": 3, "dog": 3}))), CONFIG, None)
    rows = Sample(open_source(str(parquet_folder({"image": structs(6), "label": [0, 0, 0, 1, 1, 1]}))), CONFIG, None)
    relabelled = Sample(
        open_source(str(parquet_folder({"image": structs(6), "label": [0, 0, 0, 1, 1, 0]}, folder="other"))),
        CONFIG,
        None,
    )
    assert folder.image_digest == rows.image_digest == relabelled.image_digest
    assert folder.digest == rows.digest != relabelled.digest


def test_one_changed_byte_changes_the_digest(class_folder: Write) -> None:
    root = class_folder({"cat": 3})
    before = Sample(open_source(str(root)), CONFIG, None)
    first = (before.image_digest, before.digest)
    (root / "cat" / "1.png").write_bytes(png(99))
    after = Sample(open_source(str(root)), CONFIG, None)
    assert after.image_digest != first[0]
    assert after.digest != first[1]


def test_a_corrupt_image_stops_its_own_batch_only() -> None:
    source = Plain(100)
    sample = Sample(source, SMALL, None)
    source.bad = int(sample.indices[50])
    assert len(sample.digest) == 64
    batches = sample.batches(batch_size=10)
    assert [next(batches).positions[0].item() for _ in range(5)] == [0, 10, 20, 30, 40]
    with pytest.raises(DataError, match=rf"image row {source.bad} can't be decoded: torn"):
        next(batches)
    assert _together(list(sample.batches(51, 100))).shape[0] == 49


def test_an_unreadable_file_spoils_neither_digest_nor_other_batches(class_folder: Write) -> None:
    root = class_folder({"cat": 6})
    source = open_source(str(root))
    sample = Sample(source, CONFIG, None)
    (root / source.name(int(sample.indices[5]))).unlink()
    assert len(sample.digest) == 64
    assert len(list(sample.batches(0, 5))) == 1
    with pytest.raises(DataError, match=r"cat/\d\.png can't be read: No such file"):
        list(sample.batches())


def test_a_label_out_of_range_stops_its_batch(parquet_folder: Write) -> None:
    source = open_source(str(parquet_folder({"image": structs(6), "label": [0, 1, 2, -5, 1, 0]})))
    sample = Sample(source, CONFIG, None)
    assert len(sample.digest) == 64
    with pytest.raises(DataError, match=r"label -5 of .* row 3 is out of range"):
        list(sample.batches())


def test_an_image_that_no_transform_can_take_is_named() -> None:
    class Flat(Plain):
        def image(self, index: int) -> Image.Image:
            return Image.new("RGB", (0, 4) if index == 2 else (4, 4))

    with pytest.raises(DataError, match=r"image row 2 \(0 x 4\) can't be brought to the model's size: \S"):
        list(Sample(Flat(3), SMALL, None).batches())


def test_a_small_source_gives_all_it_has() -> None:
    assert sorted(Sample(Plain(30), SMALL).indices.tolist()) == list(range(30))


def test_labels_that_are_not_all_known_are_none(parquet_folder: Write) -> None:
    source = open_source(str(parquet_folder({"image": structs(3), "label": [0, -1, 2]})))
    assert [batch.labels is None for batch in Sample(source, CONFIG, None).batches()] == [True]


def test_an_abandoned_iteration_leaves_no_thread() -> None:
    import threading

    batches = Sample(Plain(2000), SMALL, None).batches(batch_size=8)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"images": 0}, "images: must be an integer of at least 1; got 0"),
        ({"seed": -1}, "seed: must be an integer of at least 0; got -1"),
        ({"input": dataclasses.replace(SMALL, size=(0, 4))}, r"size must be height and width .* not \(0, 4\)"),
        ({"input": dataclasses.replace(SMALL, mean=(0.5, 0.5))}, "mean and std must both have 3 values .* not 2 and 3"),
        ({"input": dataclasses.replace(SMALL, std=(1.0, 0.0, 1.0))}, "std must be positive"),
        ({"input": dataclasses.replace(SMALL, interpolation="cubic")}, "not 'cubic'. Did you mean 'bicubic'"),
        ({"input": dataclasses.replace(SMALL, crop=1.2)}, "crop must be a share with 0 < crop <= 1, not 1.2"),
    ],
)
def test_wrong_parameters(arguments: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Sample(**({"source": Plain(3), "input": SMALL, "images": None} | arguments))


def test_wrong_positions_are_refused_at_once() -> None:
    sample = Sample(Plain(3), SMALL, None)
    with pytest.raises(ConfigError, match="positions must be within 0 to 3, not 2 to 4"):
        sample.batches(2, 4)
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, not 0"):
        sample.batches(0, 3, 0)


def test_sample_and_source_obey_the_protocols(class_folder: Write) -> None:
    source: Source = open_source(str(class_folder({"cat": 1})))
    sample: SampleLike = Sample(source, CONFIG, None)
    assert len(sample) == 1
    file = io.BytesIO(source.content(0))
    assert Image.open(file).size == source.image(0).size


def test_real_photographs_give_a_stable_sample(shared: Path) -> None:
    config = InputConfig(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop=0.875)
    sample = Sample(open_source(str(shared / "imagenet_sample")), config, 16)
    images = _together(list(sample.batches(batch_size=5)))
    assert images.shape == (16, 3, 224, 224)
    assert torch.isfinite(images).all()
    # Normalised by ImageNet's statistics, photographs come out near mean 0 and deviation 1.
    assert abs(images.mean().item()) < 0.5
    assert 0.6 < images.std().item() < 1.6


ORDER_OF_SEED_0 = [11, 3, 2, 1, 8, 6, 0, 7, 4, 10, 5, 9]


def test_two_samples_can_share_a_source_without_an_image_in_common() -> None:
    source = open_source("embedded")
    first, second = Sample(source, CONFIG, 30, 3), Sample(source, CONFIG, 20, 3, skip=30)
    assert first.indices.tolist() + second.indices.tolist() == Sample(source, CONFIG, 50, 3).indices.tolist()
    assert len(Sample(source, CONFIG, None, 3, skip=30)) == len(source) - 30
    assert first.digest != Sample(source, CONFIG, 30, 3, skip=1).digest
    with pytest.raises(ConfigError, match=r"skip: must be an integer of at least 0; got -1"):
        Sample(source, CONFIG, 10, skip=-1)
