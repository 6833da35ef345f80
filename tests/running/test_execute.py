import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from running.conftest import NETWORKS, run, small_study, study_of
from visionscope.core.sample import Batch
from visionscope.core.subject import Point
from visionscope.errors import DataError
from visionscope.running import execute as execution
from visionscope.running.execute import estimate, execute, missing_parts, observe
from visionscope.running.plan import plan
from visionscope.running.store import Store

CPU = torch.device("cpu")


def forward_passes(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> list[int]:
    """Counts the images of each pass from now on."""
    sizes: list[int] = []
    real = model.forward

    def counted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return real(x)

    monkeypatch.setattr(model, "forward", counted)
    return sizes


def computed(folder: Path) -> list[str]:
    """What the log says was computed: diagnostic and part."""
    return re.findall(r"computed (\w+)/\w+/([\d-]+)", (folder / "log.txt").read_text())


def test_one_pass_feeds_all_observers(tmp_path, monkeypatch):
    (subject,) = small_study()
    passes = forward_passes(monkeypatch, subject.subject.model)
    run((subject,), tmp_path)
    assert sum(size for size in passes if size > 1) == 300  # single images are looked at between parts
    assert max(passes) == 64


def test_second_run_computes_nothing(tmp_path, finished, monkeypatch):
    (subject,) = small_study()
    before = {path: path.read_bytes() for path in finished.glob("*/*/*.parquet")}
    passes = forward_passes(monkeypatch, subject.subject.model)
    assert run((subject,), finished) == []
    assert passes == []
    assert {path: path.read_bytes() for path in finished.glob("*/*/*.parquet")} == before


def test_only_what_is_missing_is_computed(tmp_path, monkeypatch):
    (subject,) = small_study()
    run((subject,), tmp_path)
    whole = Store(tmp_path).table("fourier")
    first, _ = sorted((tmp_path / "fourier").glob("*/*.parquet"))
    first.write_bytes(first.read_bytes()[:-3])
    passes = forward_passes(monkeypatch, subject.subject.model)
    run((subject,), tmp_path)
    assert sum(size for size in passes if size > 1) == 256
    assert computed(tmp_path)[4:] == [("fourier", "0000-0256")]
    assert Store(tmp_path).table("fourier").equals(whole)


def test_estimate_counts_what_is_missing(tmp_path, finished):
    (subject,) = small_study()
    whole = estimate(subject, Store(tmp_path), batch=64, device=CPU)
    assert whole is not None
    assert whole.images == 300
    assert 0 < whole.seconds_per_image < 1
    assert whole.seconds == pytest.approx(300 * whole.seconds_per_image)
    none = estimate(subject, Store(finished), batch=64, device=CPU)
    assert none is not None
    assert none.seconds == 0
    assert not (tmp_path / "fourier").exists()


class Torn:
    """A sample with one image that can't be read."""

    def __init__(self, sample: Any, position: int) -> None:
        self.sample, self.position, self.digest = sample, position, sample.digest

    def __len__(self) -> int:
        return len(self.sample)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in self.sample.batches(start, stop, batch_size):
            if self.position in batch.positions.tolist():
                raise DataError("cat.jpg can't be decoded")
            yield batch


def test_corrupt_image_fails_its_span_alone(tmp_path, finished, monkeypatch):
    (subject,) = small_study()
    samples = subject.subject.samples
    with monkeypatch.context() as patch:
        patch.setitem(samples, "eval", Torn(samples["eval"], 270))
        failures = run((subject,), tmp_path)
    assert [(failure.diagnostic, failure.part, failure.message) for failure in failures] == [
        ("fourier", "0256-0300", "cat.jpg can't be decoded"),
        ("variance", "0256-0300", "cat.jpg can't be decoded"),
    ]
    (path,) = (tmp_path / "fourier").glob("*/*.error.json")
    assert json.loads(path.read_text())["type"] == "DataError"
    assert set(Store(tmp_path).table("variance")["images"].to_pylist()) == {256}
    assert run((subject,), tmp_path) == []
    assert not list(tmp_path.glob("*/*/*.error.json"))
    assert Store(tmp_path).table("variance").equals(Store(finished).table("variance"))


def test_corrupt_first_image_leaves_the_cost_unknown(tmp_path, monkeypatch):
    (subject,) = small_study()
    samples = subject.subject.samples
    monkeypatch.setitem(samples, "eval", Torn(samples["eval"], 0))
    assert estimate(subject, Store(tmp_path), batch=64, device=CPU) is None


@pytest.mark.parametrize("method", ["update", "state"])
def test_observer_that_fails_leaves_the_others_alone(tmp_path, finished, monkeypatch, method):
    (subject,) = small_study()
    fourier = next(job.diagnostic for job in subject.jobs if job.diagnostic.name == "fourier")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("in\nthe middle")

    monkeypatch.setattr(type(fourier.observer(subject.subject.points)), method, fail)
    failures = run((subject,), tmp_path)
    assert [(failure.diagnostic, failure.message) for failure in failures] == [
        ("fourier", "ZeroDivisionError: in the middle")
    ] * 2
    error = json.loads(next((tmp_path / "fourier").glob("*/0000-0256.error.json")).read_text())
    assert "ZeroDivisionError" in error["traceback"]
    assert Store(tmp_path).table("variance").equals(Store(finished).table("variance"))


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        "weights": {name: (value.clone(), value.dtype, value.device) for name, value in model.state_dict().items()},
        "gradients": [parameter.requires_grad for parameter in model.parameters()],
        "random": torch.get_rng_state(),
    }


class Raising:
    """An observer that fails at the second map."""

    seen = 0

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        self.seen += 1
        if self.seen == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("end", ["well", "interrupted"])
def test_model_is_left_as_it_was_found(end):
    (subject,) = plan(study_of(models=[f"vit={NETWORKS}:tokens"]))
    model = subject.subject.model
    model.train()
    model.stem.eval()
    torch.manual_seed(3)
    before = state_of(model)
    diagnostic = subject.jobs[0].diagnostic
    if end == "well":
        assert observe(subject.subject, {"a": diagnostic.observer(subject.subject.points)}, (0, 8), batch=4) == {}
    else:
        with pytest.raises(KeyboardInterrupt):
            observe(subject.subject, {"a": Raising()}, (0, 8), batch=4)
    after = state_of(model)
    for name, (value, dtype, device) in before.pop("weights").items():
        assert torch.equal(value, after["weights"][name][0])
        assert (dtype, device) == after["weights"][name][1:]
    assert torch.equal(before.pop("random"), after["random"])
    assert all(after[name] == value for name, value in before.items())


def test_random_model_gets_the_same_draw_again(tmp_path, monkeypatch):
    (subject,) = plan(study_of(models=[f"cnn={NETWORKS}:convolutions"], only=["variance"], images=8))
    model = subject.subject.model
    real = model.forward
    monkeypatch.setattr(model, "forward", lambda x: real(x + torch.randn_like(x)))
    tables = []
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        run((subject,), tmp_path / name)
        tables.append(Store(tmp_path / name).table("variance"))
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_loading_batch_changes_rounding_only(tmp_path, batch):
    study = study_of(images=40, precision="fp64", only=["variance", "similarity"], similarity={"group": 8})
    tables = []
    for size in (40, batch):
        folder = tmp_path / str(size)
        assert execute(plan(study), Store(folder), batch=size, device=CPU) == []
        tables.append({**_numbers(folder, "variance", "variance"), **_numbers(folder, "similarity", "cka")})
    for name, values in tables[0].items():
        assert tables[1][name] == pytest.approx(values, rel=1e-10)


def _numbers(folder: Path, name: str, column: str) -> dict[str, list[float]]:
    return {name: Store(folder).table(name)[column].to_pylist()}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-5), ("bf16", 0.05)])
def test_precisions_agree(tmp_path, finished, precision, tolerance):
    (subject,) = plan(study_of(precision=precision, only=["variance"]))
    assert run((subject,), tmp_path) == []
    found = Store(tmp_path).table("variance")
    usual = Store(finished).table("variance")
    assert found["variance"].to_pylist() == pytest.approx(usual["variance"].to_pylist(), rel=tolerance)
    assert found["variance"].to_pylist() != usual["variance"].to_pylist()
    assert set(found["precision"].to_pylist()) == {precision}


def test_slow_part_is_announced_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "LONG_PART_SECONDS", 1e-6)
    run(small_study(), tmp_path)
    assert "slow cnn: part 0000-0256 takes about 0 minutes" in (tmp_path / "log.txt").read_text()


def test_missing_parts_come_in_span_order(tmp_path):
    (subject,) = small_study()
    assert list(missing_parts(subject, Store(tmp_path))) == ["0000-0256", "0256-0300"]


def test_job_file_keeps_when_it_was_planned_and_finished(tmp_path):
    run(small_study(), tmp_path)
    first = Store(tmp_path).jobs()[0]["times"]
    assert set(first) == {"planned", "finished", "seconds"}
    run(small_study(), tmp_path)
    assert Store(tmp_path).jobs()[0]["times"] == first
