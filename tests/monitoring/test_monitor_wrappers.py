"""A monitor and what loops wrap a network in: compilation, autocast, averages, data parallelism."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import visionscope as vs
from monitoring.test_monitor_plain import ALONE, IMAGES, LABELS, bits, net, trained
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.monitoring.untouched import unwrapped


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="eager")


def compiled_inside(network: nn.Module) -> nn.Module:
    network.blocks[0] = torch.compile(network.blocks[0], backend="eager")
    network.blocks[1].compile(backend="eager")
    return network


def parallel(network: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(network)


def averaged_and_compiled(network: nn.Module) -> nn.Module:
    return AveragedModel(torch.compile(network, backend="eager"))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which the compiler reads
@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("wrap", [compiled, compiled_inside, parallel])
def test_the_network_inside_is_measured_and_left_as_it_was(tmp_path: Path, wrap: object) -> None:
    torch.compiler.reset()
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=("variance",), every=6, at_most=None, out=tmp_path)
    assert bits(trained(monitor, wrap=wrap)) == bits(trained(None, wrap=wrap))
    rows = pd.read_parquet(tmp_path / "monitor.parquet")
    assert set(rows["step"]) == {0, 6}
    plain = vs.variance(net(), IMAGES).to_pandas().set_index("point")["variance"]
    told = rows[(rows["step"] == 0) & (rows["column"] == "value")].set_index("point")["value"]
    assert told.to_dict() == plain.to_dict()


def test_under_autocast_it_measures_in_float32(tmp_path: Path) -> None:
    monitor = vs.Monitor(
        IMAGES, LABELS, diagnostics=("variance", "hessian"), every=6, at_most=None, out=tmp_path, fields=ALONE
    )
    assert bits(trained(monitor, autocast=True)) == bits(trained(None, autocast=True))
    found = []
    for enabled in (True, False):
        again = vs.Monitor(IMAGES, LABELS, diagnostics=("hessian",), out=tmp_path / str(enabled), fields=ALONE)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(again.step(net(), 0, 0))
    assert found[0] == found[1] != {}


def test_what_is_unwrapped() -> None:
    network = net()
    assert unwrapped(averaged_and_compiled(network)).stem.weight.equal(network.stem.weight)
    assert isinstance(unwrapped(averaged_and_compiled(network)), type(network))
    own = nn.Module()
    own.module = network  # a network of one's own that calls its backbone so
    assert unwrapped(own) is own
    with pytest.raises(ConfigError, match=r"^model: must be the network that is trained; got SimpleNamespace$"):
        unwrapped(SimpleNamespace(module=network))
    sharded = type("FullyShardedDataParallel", (nn.Module,), {})()
    own.part = sharded
    with pytest.raises(ConfigError, match=r"^model: must be whole, and Module is spread over processes; pass a whole"):
        unwrapped(own)


@pytest.mark.usefixtures("process_group")
def test_of_several_processes_the_first_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = vs.Monitor(IMAGES, diagnostics=("variance",), out=tmp_path)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert monitor.step(net(), 0, 0) == {}
    assert not (tmp_path / "monitor.parquet").exists()
    monkeypatch.undo()
    assert monitor.step(net(), 0, 0)


def test_images_in_any_form_are_frozen(tmp_path: Path) -> None:
    images, labels = IMAGES.clone(), LABELS.clone()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=8, shuffle=True)
    given = {"loader": (loader, None), "tensor": (images, labels)}
    network = net()
    for name, (what, classes) in given.items():
        monitor = vs.Monitor(what, classes, diagnostics=("lesion",), every=1, at_most=None, out=tmp_path / name)
        first = monitor.step(network, 0, 0)
        state = torch.get_rng_state()
        images.add_(1)  # of the user's own loop
        assert monitor.step(network, 1, 0) == first
        assert torch.get_rng_state().equal(state)
        images.sub_(1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, r"^every: must be epoch or a number of steps, 1 or more; got 0$"),
        ({"every": "step"}, r"^every: must be epoch or a number of steps, 1 or more; got 'step'$"),
        ({"at_most": 0}, r"^at_most: must be .*above 0.*; got 0"),
        ({"diagnostics": ("varianc",)}, r"^diagnostics: there is no diagnostic 'varianc'\. Did you mean 'variance'\?"),
        (
            {"fields": {"hessian": {"k": 1}}},
            r"^fields: 'hessian' is not among the diagnostics, fourier, variance, s",
        ),
        ({"most_images": 0}, r"^most_images: must be an integer from 1 to .*; got 0$"),
        ({"out": 3}, r"^out: must be a path, as text or as pathlib\.Path; got 3$"),
    ],
)
def test_a_value_that_breaks_its_rule(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vs.Monitor(IMAGES, **given)


def test_what_was_asked_wrongly_is_told_at_the_first_measurement(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^labels: a tensor of images needs its class indices for a loss; got none"):
        vs.Monitor(IMAGES, diagnostics=("hessian",), out=tmp_path).step(net(), 0, 0)
    with pytest.raises(NotApplicableError, match=r"attention"):
        vs.Monitor(IMAGES, LABELS, diagnostics=("attention",), out=tmp_path).step(net(), 0, 0)
    monitor = vs.Monitor(IMAGES, diagnostics=("variance",), out=tmp_path)
    monitor.step(net(), 5, 0.5)
    with pytest.raises(ConfigError, match=r"^step: must not fall; got 4 after 5, make a Monitor for each training$"):
        monitor.step(net(), 4, 0.5)
    with pytest.raises(ConfigError, match=r"^step: must be an integer"):
        monitor.step(net(), 5.5, 0.5)
