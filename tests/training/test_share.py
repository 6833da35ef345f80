"""A share of a source's images is what a training with the same fraction and seed takes."""

import pytest
import torch

from visionscope.config import study_from
from visionscope.core.sample import InputConfig
from visionscope.data.sample import Sample
from visionscope.data.share import share_of, split_by_class
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, DataError
from visionscope.running.samples import SpecImages
from visionscope.training.feed import Feed, load_images
from visionscope.training.images import labels_of


@pytest.fixture
def config() -> InputConfig:
    return InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0)


def test_it_has_the_images_labels_and_order_that_a_training_takes(data: str, config: InputConfig) -> None:
    source = open_source(data, default_split="train")
    share = share_of(source, 1 / 4, 3)
    chosen, _ = split_by_class(labels_of(source), 1 / 4, 3)
    trained_on = Feed(load_images(source, config), config, None, batch_size=8, seed=0, chosen=chosen)
    seen = {int(position) for step in range(12) for position in trained_on.batch(step).positions}
    assert seen == set(chosen.tolist())
    assert [share.name(place) for place in range(len(share))] == [source.name(index) for index in chosen.tolist()]
    assert [share.label(place) for place in range(len(share))] == [source.label(index) for index in chosen.tolist()]
    assert (share.spec, share.split, share.classes) == (source.spec, "train", source.classes)


def test_diagnostics_of_training_images_take_theirs_among_them(data: str, config: InputConfig) -> None:
    asked = {"models": ["resnet_nano"], "data": data, "only": ["hessian"], "hessian": {"mini_batches": 2}}
    found = {}
    for fraction, seed in ((1, 0), (0.25, 0), (0.25, 1)):
        study = study_from({**asked, "fraction": fraction, "fraction_seed": seed})
        sample = SpecImages(data, study).measured(study.diagnostics[0], config, 3)["train"]
        assert isinstance(sample, Sample)
        allowed = share_of(open_source(data, default_split="train"), fraction, seed)
        names = {allowed.name(index) for index in range(len(allowed))}
        assert {sample.source.name(int(index)) for index in sample.indices} <= names
        found[fraction, seed] = sample.digest
    assert len(set(found.values())) == 3


def test_without_labels_there_are_no_classes_to_share_out(data: str) -> None:
    source = open_source(data, default_split="train", num_classes=7)  # of another number of classes: no labels
    with pytest.raises(DataError, match=r"fraction: .* has no label, so its class can't be shared out; take 1"):
        share_of(source, 0.5, 0)


def test_a_share_lies_between_nothing_and_everything() -> None:
    with pytest.raises(ConfigError, match=r"share must be above 0 and at most 1; got 1\.5"):
        split_by_class(torch.tensor([0, 1]), 1.5, 0)
