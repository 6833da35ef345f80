"""Runs the command line, in this process, with what users might type, and counts how it ends.

Nothing is trained or measured: what would begin is cut off where it begins.
`PYTHONPATH=src:tests python -m cli.fuzzing EXAMPLES SEED FILE` writes the summary that docs/fuzz.md holds.
"""

import contextlib
import dataclasses
import io
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cli.odd_input import MODEL, command_lines, damages, data, specs, studies
from running.conftest import run, small_study, study_of
from visionscope.cli import main
from visionscope.commands import COMMANDS
from visionscope.config import study_text
from visionscope.errors import VisionscopeError

CODES = {0, 1, 2, 130}
BEGUN = "this would begin now"


@dataclasses.dataclass
class Tally:
    """What came of the examples of one kind.

    Attributes:
        kind: of example.
        codes: exit codes, and how often.
        commands: likewise of the commands.
        begun: examples that were valid, and would have trained or measured.
        misses: what ended otherwise than it should, with the reason.
    """

    kind: str
    codes: Counter[int] = dataclasses.field(default_factory=Counter)
    commands: Counter[str] = dataclasses.field(default_factory=Counter)
    begun: int = 0
    misses: list[str] = dataclasses.field(default_factory=list)

    def tried(self, arguments: list[str]) -> None:
        """Runs a command and keeps what is wrong with how it ended."""
        out, err = io.StringIO(), io.StringIO()
        code: Any = "none"
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(arguments)
                problem = ending(code, out.getvalue(), err.getvalue())
            except BaseException as error:  # whatever it is, it should not have come this far
                problem = f"{type(error).__name__}: {error}"
        self.codes[code] += 1
        self.begun += BEGUN in err.getvalue()
        self.commands[arguments[0] if arguments and arguments[0] in COMMANDS else "(none)"] += 1
        if problem:
            self.misses.append(f"{arguments!r}: {problem}")


def ending(code: int, out: str, err: str) -> str:
    """What is wrong with how a command ended; "" where nothing is."""
    lines = err.splitlines()
    if code not in CODES:
        return f"exit code {code}"
    if "Traceback" in err or "this is a bug" in err:
        return f"a fault of our own: {err[:300]!r}"
    if not all(one.isprintable() or one == "\n" for one in out + err):
        return f"control characters: {(out + err)[:300]!r}"
    if not all(line.startswith("visionscope: ") for line in lines):
        return f"stderr: {err[:300]!r}"
    if code == 2 and sum(not line.startswith(("visionscope: left out", "visionscope: warning")) for line in lines) != 1:
        return f"not one line: {err[:300]!r}"
    if any(len(line) > 1100 for line in lines):
        return f"an endless line: {err[:300]!r}"
    return ""


@contextlib.contextmanager
def harmless(folder: Path, *, planning: bool) -> Iterator[None]:
    """Works in a folder of its own, offline, and ends what would train or measure where it begins.

    Args:
        folder: to work in.
        planning: whether models are loaded and data opened before.
    """
    import visionscope.api
    import visionscope.commands.harmonize
    import visionscope.demo
    import visionscope.experiments.buildup.search
    import visionscope.running.plan
    import visionscope.training.train

    def begun(*_: object, **__: object) -> Any:
        raise VisionscopeError(BEGUN)

    places: list[tuple[Any, str]] = [
        *([] if planning else [(visionscope.running.plan, "plan")]),
        (visionscope.api, "run_planned"),
        (visionscope.training.train, "train"),
        (visionscope.experiments.buildup.search, "search_for"),
        (visionscope.demo, "demo"),
        (visionscope.commands.harmonize, "_loaded"),
    ]
    before = [(place, name, getattr(place, name)) for place, name in places]
    here, offline = Path.cwd(), os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.chdir(folder)
    try:
        for place, name in places:
            setattr(place, name, begun)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        os.chdir(here)
        os.environ.pop("HF_HUB_OFFLINE")
        if offline is not None:
            os.environ["HF_HUB_OFFLINE"] = offline


def fuzz(kind: str, examples: int, number: int) -> Tally:
    """Tries examples of one kind.

    Args:
        kind: in `KINDS`.
        examples: how many.
        number: seed of the examples.
    """
    tally = Tally(kind)
    strategy, attempt = KINDS[kind]
    quiet = settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, kind)

        @quiet
        @seed(number)
        @given(strategy)
        def each(example: Any) -> None:
            attempt(tally, folder, example)

        with harmless(folder, planning=kind == "data specs"):
            each()
    return tally


def prepare(folder: Path, kind: str) -> None:
    """Lays out what examples name."""
    (folder / "photos" / "cat").mkdir(parents=True)
    (folder / "photos" / "cat" / "torn.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "parquet").mkdir()
    (folder / "parquet" / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    for name in ("junk.pt", "junk.safetensors", "x.py"):
        (folder / name).write_bytes(b"junk\0\xff")
    if kind == "run folders":
        assert run(small_study(), folder / "finished") == []
        (folder / "finished" / "study.yaml").write_text(study_text(study_of()))


def _study(tally: Tally, folder: Path, content: bytes) -> None:
    path = folder / "study.yaml"
    path.write_bytes(content)
    tally.tried(["run", str(path), "--dry-run"])


def _damaged_run(tally: Tally, folder: Path, example: tuple[str, int, Callable[[bytes], bytes | None]]) -> None:
    command, number, change = example
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "finished", copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    path = files[number % len(files)]
    content = change(path.read_bytes())
    if content is None:
        path.unlink()
        if number % 2:
            path.mkdir()  # a folder in a file's place
    else:
        path.write_bytes(content)
    tally.tried(["run", str(copy / "study.yaml"), "--dry-run"] if command == "run" else [command, str(copy)])


KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Tally, Path, Any], None]]] = {
    "command lines": (command_lines(), lambda tally, folder, words: tally.tried(words)),
    "study files": (studies(), _study),
    "model specs": (specs, lambda tally, folder, spec: tally.tried(["points", spec, "--json", "--size", "32", "32"])),
    "data specs": (
        data,
        lambda tally, folder, spec: tally.tried(["diagnose", MODEL, f"--data={spec}", "--only=variance", "--images=4"]),
    ),
    "run folders": (damages(), _damaged_run),
}
SHARES = {"command lines": 0.5, "study files": 0.25, "model specs": 0.1, "data specs": 0.1, "run folders": 0.05}


def summary(tallies: list[Tally], number: int) -> str:
    """The tallies as a page of the documentation."""
    total = sum(sum(tally.codes.values()) for tally in tallies)
    misses = sum(len(tally.misses) for tally in tallies)
    lines = [
        "# Odd input, tried at random",
        "",
        "Command lines, study files, model specs, data specs and damaged run folders, drawn by hypothesis from what",
        "the parsers take and from a list of odd texts, all run in one process. A miss is an exit code other than 0,",
        "1, 2 and 130, a traceback, a fault of visionscope's own, a control character in the output, or more than one",
        "line on stderr for an error. What would train or measure is cut off where it begins.",
        "",
        f"{total:,} examples, {misses} misses; seed {number}. To repeat it:",
        "",
        "```console",
        f"$ PYTHONPATH=src:tests python -m cli.fuzzing {total} {number} docs/fuzz.md",
        "```",
        "",
        "| kind | examples | exit 0 | exit 1 | exit 2 | of these cut off as valid | misses |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for tally in tallies:
        counts = " | ".join(f"{tally.codes[code]:,}" for code in (0, 1, 2))
        lines.append(
            f"| {tally.kind} | {sum(tally.codes.values()):,} | {counts} | {tally.begun:,} | {len(tally.misses)} |"
        )
    commands = sum((tally.commands for tally in tallies), Counter())
    lines += ["", "| command | examples |", "|---|---:|"]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(commands.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    wanted, chosen = int(sys.argv[1]), int(sys.argv[2])
    found = [fuzz(kind, round(wanted * share), chosen) for kind, share in SHARES.items()]
    for tally in found:
        for miss in tally.misses:
            print(tally.kind, miss[:600])
    Path(sys.argv[3]).write_text(summary(found, chosen))
