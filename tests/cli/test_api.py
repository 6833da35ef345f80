import inspect

import matplotlib.figure
import plotly.graph_objects
import pytest
import torch

import visionscope as vs
from running.conftest import NETWORKS
from running.networks import convolutions, tokens
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
        vs.fourier(convolutions(), images(4), labeling="paper")


@pytest.mark.parametrize("bad", [torch.zeros(3, 16, 16), torch.zeros(0, 3, 16, 16), torch.zeros(2, 3, 16, 16).byte()])
def test_images_are_checked(bad):
    with pytest.raises(ConfigError, match=r"images: must be a floating-point tensor \(n, channels, height, width\)"):
        vs.variance(convolutions(), bad)


def test_data_spec_needs_a_model_spec():
    with pytest.raises(ConfigError, match=r"images: a data spec needs a model spec"):
        vs.variance(convolutions(), "embedded")


def test_error_of_the_model_is_not_swallowed():
    with pytest.raises(vs.VisionscopeError, match=r"(?i)non-finite|nan"):
        vs.variance(convolutions(), torch.full((4, 3, 16, 16), torch.nan))


def test_public_names_are_few_and_described():
    assert len(vs.__all__) <= 16
    for name in vs.__all__:
        assert inspect.getdoc(getattr(vs, name))
    assert set(vs.__all__) <= set(dir(vs))
    with pytest.raises(AttributeError, match=r"module 'visionscope' has no attribute 'fourrier'"):
        vs.fourrier  # noqa: B018
