"""A monitor in a loop of one's own: the training ends with the same bits, and its numbers are those of `measure`."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import visionscope as vs
from visionscope.core.registry import diagnostic_class
from visionscope.monitoring import monitor as module

IMAGES = torch.linspace(-1, 1, 32 * 3 * 16 * 16).sin().reshape(32, 3, 16, 16)
LABELS = torch.arange(32) % 4
SMALL = {
    "hessian": {"mini_batches": 1, "k": 2, "tolerance": 0.1, "max_products": 40},
    "sharpness": {"batches": 1, "batch_size": 16},
}
ALONE = {"hessian": SMALL["hessian"]}
SMALL_SHARPNESS = {"sharpness": SMALL["sharpness"]}
WITH_UPDATES = ("variance", "sharpness")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.dropout = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.relu(self.norm(self.convolution(x))))


class Net(nn.Module):
    """Two residual blocks with what a monitor could disturb: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Conv2d(3, 6, 3, stride=2),
            nn.Sequential(Block(), Block()),
            nn.Linear(6, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def net() -> Net:
    torch.manual_seed(0)
    network = Net()
    network.blocks[0].norm.eval()  # a frozen one, as in fine-tuning
    network.stem.bias.requires_grad_(False)
    return network


def trained(monitor: vs.Monitor | None, *, wrap=lambda network: network, autocast: bool = False) -> dict[str, object]:
    """Six steps of two epochs; what they end with, to the bit."""
    network = net()
    random.seed(1)
    np.random.seed(1)
    model = wrap(network)
    optimizer = torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], lr=1e-2)
    for step in range(6):
        if monitor and not step:
            monitor.step(model, 0, 0)
        noise = torch.tensor(np.random.rand() + random.random()) + torch.randn(())
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(model(IMAGES + noise), LABELS)
        loss.backward()
        optimizer.step()
        if monitor:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                monitor.step(model, step + 1, (step + 1) / 3)  # while there are gradients
        kept = {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}
        optimizer.zero_grad()
    return {
        "weights": network.state_dict(),
        "gradients": kept,
        "optimizer": optimizer.state_dict()["state"],
        "modes": [one.training for one in network.modules()],
        "wanted": [one.requires_grad for one in network.parameters()],
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state(),
        "hooks": [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in network.modules()],
    }


def bits(value: object) -> object:
    if isinstance(value, Tensor):
        return value.numpy(force=True).tobytes()
    if isinstance(value, dict):
        return {name: bits(one) for name, one in value.items()}
    return value


def check_updates(rows: pd.DataFrame, steps: list[int]) -> None:
    """Whether the optimizer's last step was seen at each of these moments."""
    found = rows[rows["column"] == "critical sharpness"]
    assert found["step"].tolist() == [0, *steps]
    assert "the optimizer has made no step yet" in found["note"].iloc[0]
    assert found["unit"].unique().tolist() == ["1 / update"]
    for note, value in zip(found["note"].iloc[1:], found["value"].iloc[1:], strict=True):
        assert value > 0 or ("1 of 1 batch: " in note and "not seen" not in note)


@pytest.fixture(scope="module")
def alone() -> object:
    return bits(trained(None))


def test_the_same_bits_with_a_monitor_and_without(tmp_path: Path, alone: object) -> None:
    asked = ("fourier", "hessian", "sharpness")
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=asked, every=3, at_most=None, out=tmp_path, fields=SMALL)
    assert bits(trained(monitor)) == alone
    rows = pd.read_parquet(tmp_path / "monitor.parquet")
    assert sorted(rows["step"].unique()) == [0, 3, 6]
    assert rows.groupby("step")["epoch"].unique().map(list).to_dict() == {0: [0], 3: [1], 6: [2]}
    assert sorted(rows["diagnostic"].unique()) == sorted(asked)
    check_updates(rows, [3, 6])
    assert set(rows[rows["diagnostic"] == "fourier"]["point"]) >= {"blocks.0+conv", "blocks.1+conv"}
    assert not rows.duplicated(["step", "diagnostic", "point", "column"]).any()


def test_its_numbers_are_those_of_measure(tmp_path: Path) -> None:
    network = net()
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=("variance", "hessian"), out=tmp_path, fields=ALONE)
    values = monitor.step(network, 0, 0)
    rows = pd.read_parquet(tmp_path / "monitor.parquet").set_index(["diagnostic", "point", "column"])["value"]
    alone = vs.variance(network, IMAGES).to_pandas().set_index("point")["variance"]
    assert {point: rows["variance", point, "value"] for point in alone.index} == alone.to_dict()
    eigenvalues = vs.hessian(network, IMAGES, LABELS, **SMALL["hessian"]).to_pandas()["eigenvalue"]
    assert rows["hessian", "", "APE"] == pytest.approx(eigenvalues[eigenvalues > 0].mean())
    assert values["hessian/APE"] == rows["hessian", "", "APE"]
    assert values["hessian/NEP"] == 100 * (eigenvalues < 0).mean()
    assert set(values) == {"hessian/APE", "hessian/NEP", "variance/variance_after_conv"}


def vandal(diagnostics: object, network: nn.Module, *given: object, **asked: object) -> None:
    """A diagnostic that leaves nothing as it was, and fails."""
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    network.eval()
    network.requires_grad_(True)
    assert not torch.is_autocast_enabled("cpu")
    assert all(one.grad is None for one in network.parameters())
    network(IMAGES).sum().backward()
    raise RuntimeError("it broke")


def test_a_diagnostic_that_breaks_leaves_all_as_it_was(
    tmp_path: Path, alone: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "measured_together", vandal)
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=("variance",), every=1, at_most=None, out=tmp_path)
    assert bits(trained(monitor)) == alone
    rows = pd.read_parquet(tmp_path / "monitor.parquet")
    assert rows["note"].tolist() == ["RuntimeError: it broke"] * 7
    assert rows["value"].isna().all()
    told = "monitor: at step 0 variance failed, the training goes on: RuntimeError: it broke\n"
    assert capsys.readouterr().err == told  # once


def test_a_training_that_goes_on_keeps_what_came_before_and_nothing_beyond(tmp_path: Path) -> None:
    network = net()

    def sitting(*steps: int) -> list[bool]:
        monitor = vs.Monitor(IMAGES, diagnostics=("variance",), every=2, at_most=None, out=tmp_path)
        return [bool(monitor.step(network, step, 0)) for step in steps]

    def stored() -> list[int]:
        return sorted(pd.read_parquet(tmp_path / "monitor.parquet")["step"].unique())

    assert sitting(0, 1, 2, 3, 4, 5, 6) == [True, False, True, False, True, False, True]
    assert sitting(3, 4) == [False, True]
    assert stored() == [0, 2, 4]  # 6 was another sitting's
    assert sitting(4, 5, 6) == [False, False, True]  # 4 is known
    assert stored() == [0, 2, 4, 6]
    assert sitting(0) == [True]  # it begins anew
    assert stored() == [0]


class Passes:
    """Counts the images that a network sees, but for the few that tracing and checks take."""

    def __init__(self, network: nn.Module) -> None:
        self.count = 0
        network.register_forward_pre_hook(self.take)

    def take(self, network: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.count += len(given[0]) if len(given[0]) > 4 else 0


def test_observers_share_one_pass_over_the_images(tmp_path: Path) -> None:
    found = {}
    for asked in (("variance",), ("fourier", "similarity", "token_similarity", "variance")):
        network = net()
        passes = Passes(network)
        monitor = vs.Monitor(IMAGES, diagnostics=asked, out=tmp_path / str(len(asked)))
        found[asked] = [monitor.step(network, 0, 0), passes.count]
    few, many = found.values()
    assert many[1] == few[1] == len(IMAGES)
    assert few[0].items() <= many[0].items()


def broken(observer: object, point: object, maps: Tensor, positions: Tensor) -> None:
    raise RuntimeError("it broke")


def test_an_observer_that_breaks_is_alone_in_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=("fourier", "hessian", "variance"), out=tmp_path, fields=ALONE)
    observer = type(diagnostic_class("fourier")().observer(()))
    monkeypatch.setattr(observer, "update", broken)
    values = monitor.step(net(), 0, 0)
    assert {name.partition("/")[0] for name in values} == {"hessian", "variance"}
    told = "monitor: at step 0 fourier failed, the training goes on: RuntimeError: it broke\n"
    assert capsys.readouterr().err == told


def test_where_a_network_has_no_points_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    monitor = vs.Monitor(IMAGES, LABELS, diagnostics=("variance", "hessian"), out=tmp_path, fields=ALONE)
    assert set(monitor.step(plain, 0, 0)) == {"hessian/APE", "hessian/NEP"}
    assert capsys.readouterr().err.startswith("monitor: at step 0 variance failed, the training goes on: ")


def test_it_asks_for_less_than_measure_where_it_is_told_nothing(tmp_path: Path) -> None:
    asked = ("hessian", "sharpness", "variance")
    for fields, expected in (({}, (2, ("critical",), 1)), ({"hessian": {"mini_batches": 5}}, (5, ("critical",), 1))):
        hessian, sharpness, _ = vs.Monitor(IMAGES, diagnostics=asked, fields=fields, out=tmp_path)._diagnostics
        assert (hessian.mini_batches, sharpness.kinds, sharpness.batches) == expected
