"""What `--on` may say."""

import sys
from pathlib import Path
from typing import Any

import pytest

from reference import executor_tasks as tasks
from visionscope.errors import ConfigError
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.executors.work import File


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("rya", r"on: must be local, ray, ray://HOST:PORT or slurm; got 'rya'. Did you mean 'ray'\?"),
        ("Local", r"Did you mean 'local'\?"),
        ("slrum", r"Did you mean 'slurm'\?"),
        ("ray://", "got 'ray://'. Give host and port."),
        ("ray://host", "Give host and port."),
        ("", "Choose from: local, ray, slurm."),
    ],
)
def test_what_is_no_place_to_run_is_refused(tmp_path: Path, on: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        executor_for(on, workers=1, folder=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers", [0, -1, 10_001, 1.5, "many"])
def test_the_number_of_workers_has_its_rule(tmp_path: Path, workers: Any) -> None:
    with pytest.raises(ConfigError, match="workers: must be an integer from 1 to 10000; got"):
        executor_for("local", workers=workers, folder=tmp_path)


def test_options_are_for_slurm(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="slurm: its options need --on slurm; got --on local"):
        executor_for("local", workers=1, folder=tmp_path, options={"timeout_min": 5})


@pytest.mark.parametrize(("on", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"on: {package} is not installed: pip install 'visionscope\[{extra}\]'"):
        executor_for(on, workers=1, folder=tmp_path)


def test_local_is_the_default(tmp_path: Path) -> None:
    with executor_for(workers=1, folder=tmp_path) as executor:
        got: list[File] = []
        executor.submit(tasks.files, 2, receive=got.append).result(60)
    assert len(got) == 2
