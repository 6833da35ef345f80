"""RUN/study.yaml and RUN/studies/: what was asked of a run folder, a file per study, with the jobs that it came to."""

import dataclasses
import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from visionscope.core.files import read_regular, write_whole
from visionscope.core.refusals import refusals
from visionscope.errors import ConfigError

_LATEST, _ALL = "study.yaml", "studies"
_MOST_BYTES = 2**20
_NAME = re.compile(r"[0-9a-f]{12}\.yaml")
_JOB = re.compile(r"# job: ([^/\s]+)/([0-9a-f]{64})")
_FOLDER = "# started in: "
# How, and where to, but not what: the same study in a moved folder, or on another machine.
_HOW = (b"out:", b"device:", b"batch:")

JobName = tuple[str, str]
"""Diagnostic and digest."""


@dataclasses.dataclass(frozen=True)
class StudyFile:
    """A study of a run folder.

    Attributes:
        path: its file, which `visionscope run` takes.
        name: 12 hexadecimal digits over what it asks.
        jobs: that it came to when it was started last; None where its file does not say.
        folder: the working directory in which it was started, which its relative paths are of; "" where unknown.
        relative: whether it names files by such paths.
    """

    path: Path
    name: str
    jobs: tuple[JobName, ...] | None
    folder: str
    relative: bool

    @property
    def command(self) -> str:
        """What goes on with it, for a shell: in the folder that its paths are of."""
        if self.relative and Path(self.folder).is_dir() and not os.path.samefile(self.folder, "."):
            return f"cd {shlex.quote(self.folder)} && visionscope run {shlex.quote(os.path.abspath(self.path))}"
        return f"visionscope run {shlex.quote(str(self.path))}"


def write_study(run: Path, text: str, jobs: Sequence[JobName]) -> str:
    """Writes RUN/studies/NAME.yaml and, the same again, RUN/study.yaml, the latest; other studies keep their files.

    Args:
        run: the run folder.
        text: the study as YAML, a value per line.
        jobs: that it comes to.

    Returns:
        A line on jobs that the same study did not come to when it was started last; "" without such.

    Raises:
        StoreError: when the disk refuses.
    """
    written = [f"{_FOLDER}{json.dumps(os.getcwd())}", *(f"# job: {diagnostic}/{job}" for diagnostic, job in jobs)]
    content = (text + "\n".join(written) + "\n").encode()
    path, latest = run / _ALL / f"{_name(content)}.yaml", run / _LATEST
    before = _read(path) if path.is_file() else None
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep(latest)
        write_whole(path, content)
    with refusals(latest):
        write_whole(latest, content)
    new = set(jobs) - set(before.jobs) if before is not None and before.jobs else set()
    if not new:
        return ""
    return (
        f"{len(new)} of the {len(jobs)} jobs of this study are new: its models, its images or a formula are others "
        "than when it was started last; what was computed then stays"
    )


def check_no_experiment(run: Path) -> None:
    """Refuses a run folder of an experiment, whose tables a page of another kind would write over.

    Args:
        run: the run folder, which need not be there.

    Raises:
        ConfigError: where it is one.
    """
    if (run / "experiments").is_dir():
        raise ConfigError(
            f"out: {run} holds an experiment, whose page is {run / 'experiment.html'}; take another folder"
        )


def read_studies(run: Path) -> list[StudyFile]:
    """The studies of a run folder, the latest first; of a folder from before `studies/` its study.yaml.

    A study that is the only one is told by its study.yaml; of several each by its own file, since going on with one
    makes it the latest.

    Args:
        run: the run folder.
    """
    latest = _read(run / _LATEST)
    listed = [path for path in sorted((run / _ALL).glob("*.yaml")) if _NAME.fullmatch(path.name)]
    # A file that was changed since is none of those: what it asked is not known.
    known = [study for study in map(_read, listed) if study is not None and f"{study.name}.yaml" == study.path.name]
    if not known:
        return [] if latest is None else [latest]
    if len(known) == 1 and latest is not None and latest.name == known[0].name:
        return [latest]
    return sorted(known, key=lambda study: latest is None or study.name != latest.name)


def run_folder_of(path: Path) -> Path | None:
    """The run folder in which a study's file lies, as `study.yaml` or in `studies/`; None for any other file.

    Args:
        path: of the study.
    """
    if path.name == _LATEST:
        folder = path.parent
    elif _NAME.fullmatch(path.name) and Path(os.path.abspath(path)).parent.name == _ALL:
        folder = path.parent.parent if path.parent.name == _ALL else Path(os.path.abspath(path)).parent.parent
    else:
        return None
    kept = any(_NAME.fullmatch(other.name) for other in (folder / _ALL).glob("*.yaml"))
    return folder if kept or any(folder.glob(f"*/{'[0-9a-f]' * 64}/job.json")) else None


def _keep(latest: Path) -> None:
    """Keeps a study.yaml that has no file in studies/: of a version from before these, or changed by hand."""
    study = _read(latest)
    if study is not None:
        path = latest.parent / _ALL / f"{study.name}.yaml"
        if not path.exists():
            write_whole(path, read_regular(latest, _MOST_BYTES))


def _read(path: Path) -> StudyFile | None:
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError:
        return None
    lines = content.decode(errors="replace").splitlines()
    jobs = [(match[1], match[2]) for match in map(_JOB.fullmatch, lines) if match]
    folders = [line.removeprefix(_FOLDER) for line in lines if line.startswith(_FOLDER)]
    folder = _text(folders[-1]) if folders else ""
    relative = bool(folder) and any(_names_a_file(line, folder) for line in lines)
    return StudyFile(path, _name(content), tuple(jobs) or None, folder, relative)


def _name(content: bytes) -> str:
    asked = [line for line in content.splitlines() if not line.startswith((b"#", *_HOW))]
    return hashlib.sha256(b"\n".join(asked)).hexdigest()[:12]


def _text(line: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) and "\0" not in value else ""


def _names_a_file(line: str, folder: str) -> bool:
    """Whether a line of a study holds a relative path that is there."""
    if line.startswith(("#", "out:")):
        return False
    words = [word for word in re.split(r"[\s'\"=@,?#:\[\]]+", line) if word.strip("./-")]
    return any(not os.path.isabs(word) and os.path.exists(os.path.join(folder, word)) for word in words)
