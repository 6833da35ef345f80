"""Runs the named benchmarks, or all; each prints its table and writes benchmarks/results/NAME.json."""

import argparse
import importlib
import pkgutil
from pathlib import Path

from benchmarks import measure

_PLUMBING = {"__main__", "measure"}


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    names = [name for name in names if name not in _PLUMBING and not name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which to run, by default all: {', '.join(names)}")
    chosen = parser.parse_args().name or names
    for name in chosen:
        if name not in names:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(names)}")
    for name in chosen:
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "run"):
            measure.publish(name, module.run())
        else:
            print(f"{name} has options of its own: python -m benchmarks.{name}")


if __name__ == "__main__":
    main()
