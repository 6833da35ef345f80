import inspect

import matplotlib.figure
import plotly.graph_objects
import pytest
import torch

import visionscope as vs
from running.conftest import NETWORKS
from running.networks import convolutions, tokens
from visionscope.data.augmentation import paper_augmentation
from visionscope.errors import ConfigError

CNN = f"cnn={NETWORKS}:convolutions"


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["fourier", "variance", "similarity"])
def test_one_diagnostic_in_memory(name):
    result = getattr(vs, name)(tokens(), images(40))
    assert set(result.table["model"].to_pylist()) == {"Tokens"}
    assert len(result.to_pandas()) == result.table.num_rows > 0
    assert isinstance(result.figure(), plotly.graph_objects.Figure)
    assert isinstance(result.paper_figure(), matplotlib.figure.Figure)


def test_notebook_and_run_give_the_same_numbers(tmp_path):
    run = vs.diagnose(CNN, "embedded", images=256, only="variance", device="cpu", out=str(tmp_path / "run"))
    assert run.failures == ()
    assert run.page == tmp_path / "run" / "report.html"
    stored = run.store.table("variance").drop_columns(["job"])
    assert vs.variance(CNN, "embedded").table.drop_columns(["job"]).equals(stored)


def test_spans_do_not_show_in_the_result():
    found = vs.variance(convolutions().double(), images(300).double()).table.to_pydict()
    model, given = convolutions().double().eval(), images(300).double()
    maps = model.stem(given)
    expected = maps.flatten(2).var(-1).mean().item()
    assert found["point"][0] == "stem"
    assert found["variance"][0] == pytest.approx(expected, rel=1e-12)
    assert set(found["images"]) == {300}


def labels(count: int) -> torch.Tensor:
    return torch.randint(10, (count,), generator=torch.Generator().manual_seed(1))


TINY = {"hessian": {"k": 1}, "density": {"mini_batches": 2, "steps": 4}, "landscape": {"points": 3, "draws": 1}}


@pytest.mark.parametrize("name", TINY)
def test_curvature_in_memory(name):
    result = vs.measure(name, tokens(), images(40), labels(40), fields=TINY[name])
    assert len(result.to_pandas()) == result.table.num_rows > 0
    assert set(result.summary()["model"]) == {"Tokens"}
    assert set(result.table["augmentation"].to_pylist()) == {"as given"}
    assert set(result.table["weight_decay"].to_pylist()) == {0.05}
    assert isinstance(result.figure(), plotly.graph_objects.Figure)
    assert isinstance(result.paper_figure(), matplotlib.figure.Figure)


class Linear(torch.nn.Module):
    """Logits that are linear in the weights; the sum is there to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.full((3, 3, 1, 1), 0.5).double())
        self.head = torch.nn.Linear(75, 4).double()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return (x + torch.nn.functional.conv2d(x, self.kernel)).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def test_curvature_is_that_of_the_images_and_labels_given():
    """Written out: the mean of (diag p - p p') x (x, 1)(x, 1)', shifted by the decay."""
    model = Linear()
    x, y = images(16)[:, :, :5, :5].double(), labels(16) % 4
    with torch.no_grad():
        logits, one = model(x), torch.cat([model.features(x), torch.ones(16, 1)], 1)
    p = logits.softmax(1)
    curved = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    dense = sum(torch.kron(a, b) for a, b in zip(curved, one[:, :, None] * one[:, None], strict=True)) / 16
    expected = torch.linalg.eigvalsh(dense).flip(0)[:3] + 0.01
    table = vs.hessian(model, x, y, k=3, tolerance=1e-8, weight_decay=0.01, label_smoothing=0.2).table
    assert table["eigenvalue"].to_pylist() == pytest.approx(expected.tolist(), rel=1e-8)
    nll = torch.nn.functional.cross_entropy(logits, y, label_smoothing=0.2).item()
    assert table["nll"].to_pylist() == pytest.approx([nll] * 3, rel=1e-12)


def test_notebook_and_run_give_the_same_curvature(tmp_path):
    values = {"only": "hessian", "device": "cpu", "augmentation": "strong"}
    fields = {"hessian": {"k": 1, "mini_batches": 9}}
    run = vs.diagnose(CNN, "embedded", fields=fields, **values, out=str(tmp_path / "run"))
    assert run.failures == ()
    stored = run.store.table("hessian").drop_columns(["job"])
    assert set(stored["data"].to_pylist()) == {"embedded:train, strong augmentation"}
    again = vs.hessian(CNN, "embedded", k=1, mini_batches=9, augmentation="strong", label_smoothing=0.1)
    assert again.table.drop_columns(["job"]).equals(stored)
    loaded = vs.load_model(CNN)
    sample = vs.Sample(
        vs.open_source("embedded:train"), loaded.input, 500, 0, paper_augmentation("strong", loaded.input)
    )
    handed = vs.hessian(loaded.model, sample, k=1, mini_batches=9, label_smoothing=0.1).table
    columns = ["mini_batch", "eigenvalue", "nll", "augmentation"]
    assert handed.select(columns).equals(stored.select(columns))


def test_clean_training_images_are_the_default_in_memory():
    table = vs.hessian(CNN, "embedded", k=1, mini_batches=1).table
    assert set(table["data"].to_pylist()) == {"embedded:train, no augmentation"}
    assert set(table["augmentation"].to_pylist()) == {"none"}


@pytest.mark.parametrize(
    ("given", "values", "message"),
    [
        ((images(20),), {}, r"labels: a tensor of images needs its class indices for a loss; got none"),
        ((images(20), labels(19)), {}, r"labels: must be class indices, one for each of 20 images; got int64 of shape"),
        ((images(20), torch.rand(20)), {}, r"labels: must be class indices, one for each of 20 images; got float32"),
        (
            ("embedded", labels(20)),
            {},
            r"labels: come with the data; give them only with images that are a tensor",
        ),
        ((images(20), labels(20)), {"augmentation": "weak"}, r"augmentation: is drawn for the images of a data"),
        (("embedded",), {"augmentation": "week"}, r"augmentation: .*got 'week'. Did you mean 'weak'\?"),
        (("embedded",), {"weight_decay": -1}, r"weight_decay: must be a number from 0 to 1000; got -1"),
    ],
)
def test_curvature_s_values_are_checked(given, values, message):
    with pytest.raises(ConfigError, match=message):
        vs.hessian(CNN if isinstance(given[0], str) else convolutions(), *given, **values)


def test_curvature_in_a_precision_that_cannot_be_trusted():
    with pytest.raises(ConfigError, match=r"precision: hessian is measured in fp32 or fp64 only; got 'bfloat16'"):
        vs.hessian(convolutions().bfloat16(), images(20), labels(20))


def test_sample_is_taken_as_images():
    loaded = vs.load_model(CNN)
    sample = vs.Sample(vs.open_source("embedded"), loaded.input, 16, 0)
    assert set(vs.variance(loaded.model, sample).table["images"].to_pylist()) == {16}


def test_points_of_a_network_and_of_a_spec():
    named = [point.name for point in vs.points(CNN)]
    assert named == [point.name for point in vs.points(convolutions(), size=(16, 16))]
    assert named[0] == "stem"
    assert {point.grid for point in vs.points(CNN, size=(24, 32))} == {(24, 32)}


def test_fields_are_checked():
    with pytest.raises(ConfigError, match=r"fourier.labeling: fourier has no such field. Did you mean 'labelling'\?"):
        vs.measure("fourier", convolutions(), images(4), fields={"labeling": "paper"})
    with pytest.raises(ConfigError, match=r"fields: there is no diagnostic 'hesian'. Did you mean 'hessian'\?"):
        vs.diagnose(CNN, fields={"hesian": {"k": 1}})
    with pytest.raises(ConfigError, match=r"fields: must be parameters by diagnostic, such as .*; got \['hessian'\]"):
        vs.diagnose(CNN, fields=["hessian"])


@pytest.mark.parametrize("bad", [torch.zeros(3, 16, 16), torch.zeros(0, 3, 16, 16), torch.zeros(2, 3, 16, 16).byte()])
def test_images_are_checked(bad):
    with pytest.raises(ConfigError, match=r"images: must be a floating-point tensor \(n, channels, height, width\)"):
        vs.variance(convolutions(), bad)


def test_error_of_the_model_is_not_swallowed():
    with pytest.raises(vs.VisionscopeError, match=r"(?i)non-finite|nan"):
        vs.variance(convolutions(), torch.full((4, 3, 16, 16), torch.nan))


def test_public_names_are_described_and_alone():
    for name in vs.__all__:
        assert inspect.getdoc(getattr(vs, name))
    assert set(vs.__all__) == set(dir(vs))
    with pytest.raises(AttributeError, match=r"module 'visionscope' has no attribute 'fourrier'"):
        vs.fourrier  # noqa: B018
