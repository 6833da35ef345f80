"""One diagnostic of one model in memory: the same plan and the same execution as in a run folder."""

import dataclasses

import pytest
import torch

import visionscope as vs
from running.conftest import NETWORKS
from running.networks import convolutions, tokens
from visionscope.diagnostics.variance.question import Variance
from visionscope.errors import ConfigError, DataError, NondeterminismError, NotApplicableError

CNN = f"cnn={NETWORKS}:convolutions"
IMAGES = torch.randn(300, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(300) % 10


class Counting(torch.nn.Module):
    """What it gives depends on how often it ran."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = convolutions(), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x * self.calls)


class Drifting(torch.nn.Module):
    """Each pass moves a weight."""

    def __init__(self):
        super().__init__()
        self.inner = convolutions()

    def forward(self, x):
        with torch.no_grad():
            next(self.inner.parameters()).add_(0.01)
        return self.inner(x)


@pytest.mark.parametrize("name", ["fourier", "variance", "similarity"])
@pytest.mark.parametrize(
    ("network", "message"),
    [(Counting, "two passes over the same image disagree"), (Drifting, "passes change 'inner.stem")],
)
def test_a_network_that_is_no_function_of_its_input_gives_no_number(name, network, message):
    with pytest.raises(NondeterminismError, match=message):
        getattr(vs, name)(network().eval(), IMAGES[:8])


@dataclasses.dataclass
class Torn:
    """A sample in whose second span an image can't be read."""

    asked: list[int] = dataclasses.field(default_factory=list)
    digest = "torn"

    def __len__(self):
        return 3 * 256

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            self.asked.append(first)
            if first >= 256:
                raise DataError("cat.jpg is torn")
            positions = torch.arange(first, min(first + batch_size, stop))
            yield vs.data.sample.Batch(IMAGES[: len(positions)], None, positions)


def test_the_first_part_that_fails_raises_its_own_error_and_ends_it():
    sample = Torn()
    with pytest.raises(DataError, match=r"^cat.jpg is torn$"):
        vs.variance(convolutions(), sample)
    assert max(sample.asked) == 256


def test_the_error_of_a_measuring_part_is_raised_as_it_was(monkeypatch):
    class OwnError(Exception):
        pass

    def measure(self, subject, parts):
        yield parts[0], []
        raise OwnError("the second part")

    monkeypatch.setattr("visionscope.diagnostics.lesion.question.Lesion.measure", measure)
    with pytest.raises(OwnError, match="the second part"):
        vs.measure("lesion", convolutions(), IMAGES, LABELS)


def test_an_observer_that_fails_raises_its_own_error(monkeypatch):
    observer = type(Variance().observer(vs.points(convolutions(), size=16)))
    monkeypatch.setattr(observer, "state", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        vs.variance(convolutions(), IMAGES[:8])


def test_nothing_is_printed_and_no_file_is_written(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visionscope.running.measuring.free_memory", lambda device: 1)  # a study would warn
    vs.variance(convolutions(), IMAGES[:8])
    vs.measure("lesion", convolutions(), IMAGES[:8], LABELS[:8])
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_applicable_says_why_without_a_label():
    with pytest.raises(NotApplicableError, match=r"^Convolutions: has no self-attention"):
        vs.measure("attention", convolutions(), IMAGES[:8], input=vs.load_model(CNN).input)


@pytest.mark.parametrize("name", ["lesion", "calibration", "fourier", "attention"])
@pytest.mark.parametrize("value", [{"weight_decay": 0.1}, {"label_smoothing": 0.0}, {"augmentation": "none"}])
def test_what_only_training_images_need_is_refused_elsewhere(name, value):
    (parameter,) = value
    with pytest.raises(
        ConfigError, match=rf"^{parameter}: concerns training images, and {name} looks at none; leave it out"
    ):
        vs.measure(name, CNN, "embedded", **value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"weight_decay": -1}, r"weight_decay: must be a number from 0 to 1000; got -1"),
        ({"label_smoothing": 1.0}, r"label_smoothing: must be a number of at least 0 and below 1; got 1.0"),
        ({"augmentation": "week"}, r"augmentation: .*got 'week'. Did you mean 'weak'\?"),
        ({"output_is": "softmax"}, r"output_is: "),
        ({"output": ""}, r"output: "),
    ],
)
def test_measure_holds_what_it_takes_to_a_study_s_rules(value, message):
    for name in ("density", "fit"):
        with pytest.raises(ConfigError, match=message):
            vs.measure(name, CNN, "embedded", **value)


def test_measure_takes_the_objective_and_the_augmentation():
    asked = {"augmentation": "weak", "weight_decay": 0.5, "label_smoothing": 0.2}
    fields = {"mini_batches": 1, "k": 1}
    table = vs.measure("hessian", CNN, "embedded", fields=fields, **asked).table
    assert table.equals(vs.hessian(CNN, "embedded", **fields, **asked).table)
    assert set(table["augmentation"].to_pylist()) == {"weak"}
    assert set(table["weight_decay"].to_pylist()) == {0.5}
    assert set(table["label_smoothing"].to_pylist()) == {0.2}
    assert set(table["data"].to_pylist()) == {"embedded:train, weak augmentation"}


def test_labels_beside_a_data_spec_are_refused_whatever_is_asked():
    for name in ("fourier", "lesion"):
        with pytest.raises(
            ConfigError, match="labels: come with the data; give them only with images that are a tensor"
        ):
            vs.measure(name, CNN, "embedded", LABELS)


def test_images_of_another_size_than_the_model_s_own_are_looked_at_as_they_are(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import timm, torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    made = timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8, depth=1, embed_dim=24,\n"
        "                             num_heads=3, num_classes=4, dynamic_img_size=True)\n"
        "    made.pretrained_cfg = {'input_size': (3, 32, 32), 'mean': (0.5,) * 3, 'std': (0.5,) * 3}\n"
        "    return made\n"
    )
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    spec = f"{path}:net"
    assert set(vs.variance(spec, images).table["grid_height"].to_pylist()) == {8}
    assert vs.measure("attention", spec, images).table.num_rows
    assert vs.measure("frequency_noise", spec, images, torch.arange(4)).table.num_rows


def test_a_network_comes_back_as_it_was():
    network = tokens().train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    vs.variance(network, IMAGES[:8])
    vs.hessian(network, IMAGES[:16], LABELS[:16], mini_batches=1, k=1)
    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
