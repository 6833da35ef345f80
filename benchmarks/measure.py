"""What benchmarks share: CPU time of functions in turns, peak memory of a fresh process, the table and its JSON."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of a benchmark's table.

    Attributes:
        name: what was measured.
        unit: of value, spread, peers and goal.
        value: ours; of repeated measurements the median.
        spread: smallest and largest of the repetitions, or None.
        peers: the same by others, by name.
        goal: at most this (at least, where `at_least`), or None.
        at_least: whether larger is better.
        note: what a reader must know beside it.
    """

    name: str
    unit: str
    value: float
    spread: tuple[float, float] | None = None
    peers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def cpu_seconds(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU time of this process, one torch thread, every function once per round after a warm-up round.

    CPU time, because other programs may share the cores; in turns, so that a slow minute hits all alike.

    Args:
        functions: what to run, by name.
        rounds: how often.
    """
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(rounds + 1):
        for name, function in functions.items():
            began = time.process_time()
            function()
            if repetition:
                times[name].append(time.process_time() - began)
    return times


def ratios(times: Mapping[str, Sequence[float]], unit: str) -> dict[str, tuple[float, tuple[float, float]]]:
    """Median, smallest and largest of each function's time over that of the unit in the same round.

    Args:
        times: from `cpu_seconds`.
        unit: name of the function whose time is 1.
    """
    found = {}
    for name, own in times.items():
        over = [value / base for value, base in zip(own, times[unit], strict=True)]
        found[name] = (statistics.median(over), (min(over), max(over)))
    return found


def peak_memory(module: str, *arguments: str) -> float:
    """Peak resident memory, in MB, of `python -m module arguments` in a fresh process with one thread.

    Args:
        module: a module that does the work when run; its last printed line is its own peak in kB.
        arguments: for it.
    """
    # a fixed threshold: every large tensor goes back to the system when it is freed, so that the peak does not scatter
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1]) / 1024


def publish(name: str, rows: Sequence[Measurement]) -> None:
    """Prints the table and writes it, with the machine, to benchmarks/results/NAME.json.

    Args:
        name: of the benchmark.
        rows: its measurements.
    """
    widths = [max(len(row.name) for row in rows), max(len(row.unit) for row in rows)]
    print(
        f"\n{name}\n{'what':{widths[0]}}  {'value':>9}  {'spread':>17}  {'goal':>9}  {'unit':{widths[1]}}  peers, notes"
    )
    for row in rows:
        spread = f"{row.spread[0]:.4g} - {row.spread[1]:.4g}" if row.spread else ""
        goal = "" if row.goal is None else f"{'>=' if row.at_least else '<='}{row.goal:.4g}{'' if row.met else ' !'}"
        others = ", ".join([*(f"{peer} {value:.4g}" for peer, value in row.peers.items()), *filter(None, [row.note])])
        print(f"{row.name:{widths[0]}}  {row.value:9.4g}  {spread:>17}  {goal:>9}  {row.unit:{widths[1]}}  {others}")
    RESULTS.mkdir(exist_ok=True)
    content = {
        "machine": machine(),
        "measurements": [{**dataclasses.asdict(row), "met": row.met} for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What the numbers depend on: processor, cores, Python and library versions."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    versions = {name: importlib.metadata.version(name) for name in ("torch", "timm", "numpy", "visionscope")}
    return {
        "processor": processor,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": str(os.cpu_count()),
        "timing": "CPU time of the process (time.process_time), torch.set_num_threads(1)",
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "python": platform.python_version(),
        **versions,
    }
