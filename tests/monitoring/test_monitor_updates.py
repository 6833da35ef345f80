"""Critical sharpness along the optimizer's update: against AdamW and gradient descent written out in float64."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import visionscope as vs
from monitoring.test_monitor_plain import IMAGES, LABELS
from reference import sharpness, updates
from reference.found_as_it_was import snapshot
from visionscope.monitoring.last_step import LastStep

FIELDS = {"sharpness": {"batch_size": 32, "batches": 1}}
STEPS = 3
OPTIMIZERS = {
    "sgd": lambda weights, rate: torch.optim.SGD(weights, lr=rate),
    "adamw": lambda weights, rate: torch.optim.AdamW(weights, lr=rate, weight_decay=0.3),
}
PATHS = {
    "sgd": updates.sgd,
    "adamw": lambda *given: updates.adamw(*given, decay=0.3),
}


def network() -> nn.Module:
    torch.manual_seed(4)
    layers = nn.Conv2d(3, 3, 5, stride=5), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4)
    return nn.Sequential(*layers).double()


def monitor(out: Path, **asked: object) -> vs.Monitor:
    given = {"diagnostics": ("sharpness",), "every": 1, "at_most": None, "fields": FIELDS, **asked}
    return vs.Monitor(IMAGES.double(), LABELS, out=out, **given)


def rows_of(out: Path) -> pd.DataFrame:
    rows = pd.read_parquet(out / "monitor.parquet")
    assert set(rows["point"]) == {""}
    return rows.set_index(["step", "column"])


def trained(own: vs.Monitor, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> None:
    own.step(model, 0, 0)
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(IMAGES.double()), LABELS).backward()
        optimizer.step()
        own.step(model, step + 1, 0)


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("sgd", 4.0), ("adamw", 1e-3)])
def test_it_is_the_first_rise_along_the_update_written_out(tmp_path: Path, name: str, rate: float) -> None:
    model = network()
    loss = sharpness.loss_of(model, IMAGES.double(), LABELS)
    path = PATHS[name](sharpness.flat_weights(model), torch.func.grad(loss), rate, STEPS)
    trained(monitor(tmp_path), model, OPTIMIZERS[name](model.parameters(), rate))
    assert sharpness.flat_weights(model).tolist() == pytest.approx(path[-1], rel=1e-9)
    rows = rows_of(tmp_path)
    assert set(rows.loc[1].index) == {"critical sharpness", "value", "step", "nll"}  # a direction has no radius
    assert rows.loc[(0, "critical sharpness"), "note"] == "1 of 1 batch: the optimizer has made no step yet"
    for step in range(1, STEPS + 1):
        told = rows.loc[(step, "critical sharpness")]
        assert told["value"] > 0
        slow = updates.first_rise_between(loss, path[step - 1], path[step], 2 / told["value"] / 500)
        assert 2 / told["value"] == pytest.approx(slow, rel=0.03)
        assert rows.loc[(step, "step"), "value"] == pytest.approx(2 / told["value"])
        assert told["unit"] == "1 / update"
        # Above 2 where the step itself was too long, and there alone.
        rose = loss(torch.tensor(path[step]).double()) > loss(torch.tensor(path[step - 1]).double())
        assert (told["value"] > 2) == bool(rose)


def test_of_gradient_descent_it_is_that_of_the_gradient_times_the_learning_rate(tmp_path: Path) -> None:
    rate, model = 0.5, network()
    before = vs.sharpness(
        network(), IMAGES.double(), LABELS, kinds=("critical",), batches=1, batch_size=32, label_smoothing=0.0
    ).to_pandas()
    trained(monitor(tmp_path), model, torch.optim.SGD(model.parameters(), lr=rate), steps=1)
    found = rows_of(tmp_path).loc[(1, "critical sharpness"), "value"]
    assert found == pytest.approx(rate * before["value"].item(), rel=0.03)
    assert before["direction"].item() == "negative gradient"


def test_it_costs_a_gradient_and_less_than_ten_passes(tmp_path: Path) -> None:
    passes, model = [], network()
    own = monitor(tmp_path, every=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    trained(own, model, optimizer, steps=1)  # where nothing is due after the first
    model.register_forward_hook(lambda module, given, out: passes.append((len(given[0]), out.requires_grad)))
    optimizer.step()
    own.step(model, 2, 0)
    whole = [wants for count, wants in passes if count == 32]
    assert sum(whole) == 1
    assert 2 <= len(whole) - 1 <= 1 + 9


def test_where_the_last_step_was_not_seen_it_says_so(tmp_path: Path) -> None:
    model = network()
    own = monitor(tmp_path, every=5)
    own.step(model, 0, 0)
    before = snapshot(model)
    own.step(model, 5, 0)
    assert snapshot(model) == before
    note = rows_of(tmp_path).loc[(5, "critical sharpness"), "note"]
    assert note.endswith("or the monitor is not called after each step")


def test_where_nothing_moved_it_says_so(tmp_path: Path) -> None:
    model = network()
    own = monitor(tmp_path)
    own.step(model, 0, 0)
    own.step(model, 1, 0)  # as a gradient scaler skips a step
    assert "its slope is 0" in rows_of(tmp_path).loc[(1, "critical sharpness"), "note"]


def test_the_last_step_is_the_difference_of_the_trained_weights() -> None:
    model = network()
    model[3].bias.requires_grad_(False)
    seen = LastStep()
    places: list[dict[str, Tensor]] = []
    for step in (0, 1, 1, 2):  # a step may be looked at twice
        if step == len(places):
            with torch.no_grad():
                for value in model.parameters():
                    value.add_(step + 1)
            places.append({name: value.detach().clone() for name, value in model.named_parameters()})
        seen.look(model, step)
        change = seen.update().change
        assert set(change) == ({"0.weight", "0.bias", "3.weight"} if step else set())
        for name, value in change.items():
            assert value.equal(places[step][name] - places[step - 1][name])
    model[3].bias.requires_grad_(True)
    seen.look(model, 3)  # another set of weights is trained from here on
    assert seen.update().note.startswith("the weights before the optimizer's last step were not seen")
    seen.look(model, 4)
    assert set(seen.update().change) == {name for name, _ in model.named_parameters()}


def test_what_is_compiled_inside_has_the_name_that_measuring_gives_it() -> None:
    model = network()
    seen = LastStep()
    compiled = nn.Sequential(torch.compile(model[0]), *model[1:])
    seen.look(compiled, 0)
    seen.look(compiled, 1)
    assert set(seen.update().change) == {name for name, _ in model.named_parameters()}


def test_where_nothing_is_trained_it_says_so() -> None:
    seen = LastStep()
    for step in (0, 1):
        seen.look(network().requires_grad_(False), step)
    assert seen.update().note == "no parameter of the network is trained"
