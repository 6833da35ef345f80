"""What commands cost before they do anything: CPU time of fresh processes, over that of `import torch, timm`.

Other programs may share the machine: so each process is measured between two of the unit, several times.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import Measurement

ROUNDS = 3
UNIT = "import torch, timm"
_MAIN = "import sys; from visionscope.cli import main; sys.exit(main(sys.argv[1:]))"
# Ends, as the unit does, where the first image would be read.
_FIRST_IMAGE = f"""
import visionscope.data.sample

def stop(*given):
    print("first image")
    raise SystemExit

visionscope.data.sample.Sample.batches = stop
{_MAIN}
"""
_ASKED = ("diagnose", "resnet18", "--random-weights", "0", "--data", "embedded", "--images", "8", "--yes")
_BEFORE = "diagnose before its first image"

# What is run, its arguments, and the goal: of `import torch, timm`, of which 1 s in 10 is 0.1.
COMMANDS: dict[str, tuple[str, tuple[str, ...], float]] = {
    "--help": (_MAIN, ("--help",), 0.1),
    "diagnose --help": (_MAIN, ("diagnose", "--help"), 0.1),
    "diagnose --help hessian": (_MAIN, ("diagnose", "--help", "hessian"), 0.1),
    "diagnose resnt18": (_MAIN, ("diagnose", "resnt18", "--data", "embedded"), 0.1),
    "points resnet18": (_MAIN, ("points", "resnet18"), 1.15),
    _BEFORE: (_FIRST_IMAGE, _ASKED, 1.15),
    f"{_BEFORE}, lesion": (_FIRST_IMAGE, (*_ASKED, "--only", "lesion"), 1.15),
    f"{_BEFORE}, hessian": (_FIRST_IMAGE, (*_ASKED, "--only", "hessian"), 1.15),
}


def run() -> list[Measurement]:
    ratios: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        before = _cpu_seconds(UNIT)
        for name, (program, arguments, _) in COMMANDS.items():
            own = _cpu_seconds(program, *arguments)
            after = _cpu_seconds(UNIT)
            ratios[name].append(own / ((before + after) / 2))
            before = after
    return [
        Measurement(
            name=name,
            unit=f"x {UNIT}",
            value=statistics.median(found),
            spread=(min(found), max(found)),
            goal=COMMANDS[name][2],
        )
        for name, found in ratios.items()
    ]


def _cpu_seconds(program: str, *arguments: str) -> float:
    """User and system time of a fresh process with one thread, in a folder of its own."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if program == _FIRST_IMAGE and not done.stdout.startswith("first image"):
        raise RuntimeError(f"it ended before the first image: {done.stderr}")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
