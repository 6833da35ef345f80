"""NLL_train against test error: the loss of training's own scores, its standard error, fractions, what is left out."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from reference.small_subjects import CLASSES, Images
from visionscope.core.objective import Objective
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, tidy, to_table, with_leading_of
from visionscope.diagnostics.fit.question import Fit
from visionscope.errors import ConfigError, DataError
from visionscope.training.evaluation import evaluate

SMOOTHED = Objective(label_smoothing=0.1)


def linear(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES)).double().eval()


def subject(train, test, fraction=None, seed=0):
    return Subject(
        label="linear",
        model=linear(seed),
        points=(),
        watch=lambda callback: None,
        samples={"train": train, "eval": test},
        objective=SMOOTHED,
        augmentation="strong",
        fraction=fraction,
    )


def table_of(given, parts=None, model="linear"):
    rows = [row for _, rows in Fit().measure(given, parts or Fit().parts(given)) for row in rows]
    return with_leading_of(to_table(Fit.row, rows), [{**dict.fromkeys(LEADING, "x"), "model": model}] * len(rows))


@pytest.mark.parametrize("mixed", [True, False])
def test_the_loss_is_that_of_trainings_own_scores(mixed):
    train, test = Images(count=300, mixed=mixed), Images(count=270, mixed=False)
    given = subject(train, test)
    assert Fit().parts(given) == ["train-0000-0256", "train-0256-0300", "eval-0000-0256", "eval-0256-0270"]
    table = table_of(given)
    (row,) = Fit().summary(table).to_pylist()
    on_train = evaluate(given.model, train.batches(0, 300, 50), SMOOTHED)
    on_test = evaluate(given.model, test.batches(0, 270, 50), SMOOTHED)
    assert row["nll_train"] == pytest.approx(on_train.nll, rel=1e-12)
    assert row["nll_test"] == pytest.approx(on_test.nll, rel=1e-12)
    assert row["error"] == pytest.approx(100 * (1 - on_test.top_1), rel=1e-12)
    assert row["error_low"] < row["error"] < row["error_high"]
    assert (row["train_images"], row["test_images"]) == (300, 270)
    assert (row["targets"], row["label_smoothing"]) == (("mixed", 0.1) if mixed else ("labels", 0.0))
    right = sum(bin(int(part, 16)).count("1") for part in table["right"].to_pylist()[:2])
    assert right == round(on_train.top_1 * 300)
    assert table["augmentation"].to_pylist() == ["strong", "strong", "none", "none"]


def test_the_loss_of_one_mixed_image_by_hand():
    train = Images(count=1)
    given = subject(train, Images(count=1, mixed=False))
    logits = given.model(train.images.double())[0].tolist()
    total = math.log(math.fsum(map(math.exp, logits)))
    share = float(train.shares[0])
    target = [0.1 / CLASSES] * CLASSES
    target[int(train.labels[0])] += 0.9 * share
    target[int(train.partners[0])] += 0.9 * (1 - share)
    (row,) = Fit().summary(table_of(given)).to_pylist()
    wanted = math.fsum(t * (total - z) for t, z in zip(target, logits, strict=True))
    assert row["nll_train"] == pytest.approx(wanted, rel=1e-12)
    assert row["nll_train_se"] is None


def test_the_standard_error_is_over_mini_batches():
    """Of equal mini-batches it is that of their means; 10,000 identical images in one would say nothing more."""
    given = subject(Images(count=64), Images(count=4, mixed=False))
    table = table_of(given)
    values = np.array(table["cross_entropy"].to_pylist()[0])
    means = values.reshape(4, 16).mean(1)
    (row,) = Fit().summary(table).to_pylist()
    assert row["nll_train_se"] == pytest.approx(means.std(ddof=1) / 2, rel=1e-12)
    assert row["nll_train_se"] != pytest.approx(values.std(ddof=1) / 8, rel=0.01)


def test_models_of_several_fractions_are_drawn_against_them():
    tables = [
        table_of(subject(Images(), Images(mixed=False), fraction, seed=place), model=f"of {fraction}")
        for place, fraction in enumerate((0.25, 1.0))
    ]
    figure = Fit().figure(pa.concat_tables(tables))
    loss, *by_fraction = figure.panels
    assert [line.role for line in loss.lines] == ["points", "points"]
    assert [panel.x_label for panel in by_fraction] == ["share of the training images"] * 2
    assert [line.x for line in by_fraction[0].lines] == [(0.25,), (1.0,)]
    assert by_fraction[0].lines[0].y == loss.lines[0].y
    assert by_fraction[1].lines[0].y == loss.lines[0].x
    line = loss.lines[0]
    assert line.low[0] < line.y[0] < line.high[0]
    assert "trained on 0.25 of the images" in line.hover[0]
    assert Fit().summary(pa.concat_tables(tables))["fraction"].to_pylist() == [0.25, 1.0]
    assert len(Fit().figure(tables[0]).panels) == 1


def test_a_model_of_which_a_split_failed_is_left_out():
    given = subject(Images(), Images(mixed=False))
    part, whole = table_of(given, ["train-0000-0040"], model="torn"), table_of(given, model="whole")
    assert Fit().summary(pa.concat_tables([part, whole]))["model"].to_pylist() == ["whole"]
    assert Fit().summary(part).num_rows == 0


def test_outcomes_have_a_row_per_image():
    given = subject(Images(count=300), Images(count=20, mixed=False))
    table = table_of(given)
    assert "cross_entropy" not in tidy(table).column_names
    assert "right" not in tidy(table).column_names
    long = Fit().outcomes(table).to_pylist()
    (row,) = Fit().summary(table).to_pylist()
    train, test = ([one for one in long if one["split"] == split] for split in ("train", "eval"))
    assert [one["image"] for one in train] == list(range(300))
    assert [one["image"] for one in test] == list(range(20))
    assert math.fsum(one["cross_entropy"] for one in train) / 300 == pytest.approx(row["nll_train"], rel=1e-12)
    assert math.fsum(one["cross_entropy"] for one in test) / 20 == pytest.approx(row["nll_test"], rel=1e-12)
    assert 100 * sum(not one["right"] for one in test) / 20 == pytest.approx(row["error"], rel=1e-12)
    wanted = [value for values in table["cross_entropy"].to_pylist()[:2] for value in values]
    assert [one["cross_entropy"] for one in train] == wanted


def test_bad_fields_and_no_images():
    for field in ("sample_size", "test_size"):
        with pytest.raises(ConfigError, match=rf"fit.{field}: must be an integer from 1 to 1000000000; got 0"):
            Fit(**{field: 0})
    with pytest.raises(DataError, match="fit: needs at least one training image"):
        Fit().images(0)
    with pytest.raises(DataError, match="fit: needs at least one test image"):
        Fit().images_beside(0)
    given = subject(Images(), Images(mixed=False))
    given.model[1].weight.data[0, 0] = math.nan
    with pytest.raises(DataError, match="linear: a logit of image 0 is not finite"):
        table_of(given)
