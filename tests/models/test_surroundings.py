"""What foreign code changes in the process is put back, and is there again for that code alone."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from visionscope.errors import ConfigError
from visionscope.models.load import load_model

FILE = """
import os, pathlib, random, signal, sys, threading, time, warnings
import numpy
import torch
from torch import nn
{imports}

def make():
    {make}
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
CHANGES = {
    "default type": "torch.set_default_dtype(torch.float64)",
    "directory": "os.chdir('/')",
    "signals": "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, lambda *a: None)",
    "random": "random.seed(1); numpy.random.seed(1); torch.manual_seed(1)",
    "threads": "torch.set_num_threads(2)",
    "determinism": "torch.use_deterministic_algorithms(True); torch.backends.cudnn.benchmark = True",
    "precision": "torch.set_float32_matmul_precision('medium')",
    "denormals": "torch.set_flush_denormal(True)",
    "warnings": "warnings.simplefilter('ignore')",
    "streams": "sys.stdout = sys.stderr = sys.stdin = None",
    "environment": "os.environ['OWN'] = '1'; os.environ.pop('HOME', None)",
    "gradients": "torch.set_grad_enabled(False)",
    "limits": "sys.setrecursionlimit(5000)",
    "device": "torch.set_default_device('meta')",
}


def written(folder: Path, *, imports: str = "", make: str = "pass") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "net.py").write_text(FILE.format(imports=imports, make=make))
    return f"{folder}/net.py:make"


def state() -> list[object]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        os.getcwd(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
        float(torch.full((1,), 1e-40) * 1.0) == 0,
        list(warnings.filters),
        (sys.stdin, sys.stdout, sys.stderr),
        dict(os.environ),
        torch.is_grad_enabled(),
        sys.getrecursionlimit(),
    ]


@pytest.mark.parametrize("where", ["imports", "make"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_factory_changes_is_put_back(change: str, where: str, tmp_path: Path) -> None:
    before = state()
    other = load_model("resnet_nano", random_weights=0).digest
    spec = written(tmp_path, **{where: CHANGES[change]})
    refused = pytest.raises(ConfigError, match="meta device") if change == "device" else contextlib.nullcontext()
    with refused:
        load_model(spec, random_weights=0, size=8, mean=(0,) * 3, std=(1,) * 3)
    assert state() == before
    assert load_model("resnet_nano", random_weights=0).digest == other


def test_a_factory_finds_what_its_own_file_has_set(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        imports="torch.set_default_dtype(torch.float64); os.environ['OWN'] = '1'; os.chdir(os.path.dirname(__file__))",
        make="assert os.environ['OWN'] == '1' and pathlib.Path('net.py').exists()",
    )
    loaded = load_model(spec, random_weights=0, size=8, mean=(0,) * 3, std=(1,) * 3)
    assert loaded.model[0].weight.dtype == torch.float64
    assert "OWN" not in os.environ


@pytest.mark.parametrize("method", ["__str__", "__repr__"])
def test_an_error_that_can_not_tell_itself_is_told_of(method: str, tmp_path: Path) -> None:
    code = f"class Odd(Exception):\n    def {method}(self): raise ValueError('no')\n"
    with pytest.raises(ConfigError, match="failed with Odd"):
        load_model(written(tmp_path, imports=code, make="raise Odd()"), random_weights=0)


def test_a_thread_that_goes_on_keeps_no_process(tmp_path: Path) -> None:
    spec = written(tmp_path, make="threading.Thread(target=time.sleep, args=(10**6,)).start()")
    call = [sys.executable, "-m", "visionscope.cli", "points", spec, "--random-weights", "0", "--size", "8", "8"]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "can be watched" in ended.stdout
