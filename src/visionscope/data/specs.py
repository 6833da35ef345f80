"""What a data spec says: which kind of data, which name, which split. Needs neither torch nor timm."""

import dataclasses
import errno
import itertools
import os
import re
import stat
from pathlib import Path
from typing import Literal

from visionscope.core.files import user_path
from visionscope.core.values import shown
from visionscope.data.splits import check_embedded, choose_split
from visionscope.errors import ConfigError, DataError, nearest

TORCH_NAMES = (
    "cifar10",
    "cifar100",
    "mnist",
    "kmnist",
    "fashion_mnist",
    "qmnist",
    "imagenet",
    "places365",
    "inaturalist",
)
_WITH_VALIDATION = ("imagenet", "places365", "inaturalist")
_EXAMPLES = {"torch": "torch/cifar10", "hfds": "hfds/uoft-cs/cifar100"}
_STREAMS = ("hfids", "tfds", "wds")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_REPOSITORY = re.compile(r"(?!.*(?:\.\.|--))(?:\b[\w.-]{1,96}\b/)?\b[\w.-]{1,96}\b", re.ASCII)
_LOOKED_AT = 2000  # names in a folder among which the nearest is sought
_ALIKE = 0.7  # how alike names of paths must be for one to stand for the other

EMBEDDED_NAMES = ("embedded", "embedded-masks")

Kind = Literal["embedded", "torch", "hfds", "path"]


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """A data spec, taken apart.

    Attributes:
        text: as the user wrote it.
        kind: `embedded`, a data set of torchvision's (`torch`) or of Hugging Face's (`hfds`), or a `path`.
        name: of the data set, or the path; `embedded` or `embedded-masks`.
        split: that it names, or None.
    """

    text: str
    kind: Kind
    name: str
    split: str | None

    @property
    def path(self) -> Path:
        """The folder or file; of a `path` alone."""
        return user_path("data", self.name)


def check_data_spec(text: object) -> None:
    """Checks what can be told of a data spec without looking at any file; costs no import of torch.

    Args:
        text: the data spec, of whatever type.

    Raises:
        ConfigError: for what is no text, and for a path that no file can have.
        DataError: for an empty spec, an address on the network, a stream, a data set or a split that nobody has.
    """
    if not isinstance(text, str):
        raise ConfigError(f"data: must be text, such as 'embedded' or a folder of class folders; got {shown(text)}")
    if not text.strip():
        raise DataError("data: name the images, such as 'embedded' or a folder of class folders; got nothing")
    if _ADDRESS.match(text):
        raise DataError(
            f"data {text!r} is an address, and nothing is fetched from there; download it and name the folder"
        )
    head, split = _halves(text)
    user_path("data", head)  # what no path can be is too long for a name, too
    spec = _sorted_out(text, head, split)
    if spec.kind != "path":
        _refuse_bare_colon(spec)
    if spec.kind == "embedded":
        check_embedded(split or "test")
    elif spec.kind == "torch":
        _check_torch(spec)


def find_data(text: str) -> DataSpec:
    """Takes a data spec apart and checks that a path which it names is there and can be data; opens nothing.

    Args:
        text: the data spec.

    Raises:
        ConfigError: see `check_data_spec`.
        DataError: see `check_data_spec`; and for a path that is not there, or is neither a folder nor a Parquet file.
    """
    check_data_spec(text)
    head, split = (text, None) if _is_there(text) else _halves(text)
    spec = _sorted_out(text, head, split)
    _refuse_bare_colon(spec)
    if spec.kind == "path":
        _check_path(spec)
    elif spec.kind == "hfds" and not _REPOSITORY.fullmatch(spec.name) and not Path(spec.name).is_dir():
        raise DataError(
            f"data {text!r}: {spec.name!r} is neither a name on the Hugging Face hub, such as uoft-cs/cifar100, nor "
            "an existing folder"
        )
    return spec


def check_apart(out: Path, data: str) -> None:
    """Refuses a run folder in the folder of the images: its own folders would be taken for classes the next time.

    Args:
        out: the run folder, which need not be there.
        data: a data spec, or the path of another folder that images are read from.

    Raises:
        ConfigError: where it lies there or is the same, links followed.
        DataError: see `find_data`.
    """
    spec = find_data(data)
    folder = Path(spec.name) if spec.kind == "hfds" else spec.path if spec.kind == "path" else None
    if folder is None or not folder.is_dir():
        return
    inside, around = Path(os.path.realpath(out)), Path(os.path.realpath(folder))
    if around != inside and around not in inside.parents:
        return
    other = around.parent / f"{around.name}-run"
    shown_as = other if folder.is_absolute() else os.path.relpath(other)
    how = "is" if around == inside else "lies in"
    raise ConfigError(f"out: {out} {how} the data folder {folder}; take another, such as {shown_as}")


def needs_both_splits(text: str) -> ConfigError:
    """The error where a training's data spec names a split, or the data have only one.

    Args:
        text: the data spec.
    """
    return ConfigError(f"--data must have a train and a test split and name neither of them; got {text!r}")


def torch_splits(name: str) -> tuple[str, str]:
    """The splits of one of torchvision's data sets."""
    return ("train", "validation") if name in _WITH_VALIDATION else ("train", "test")


def _halves(text: str) -> tuple[str, str | None]:
    """What stands before the last colon and the split after it."""
    head, colon, split = text.rpartition(":")
    return (head, split) if colon and head and "/" not in split else (text, None)


def _sorted_out(text: str, head: str, split: str | None) -> DataSpec:
    if head in EMBEDDED_NAMES:
        return DataSpec(text, "embedded", head, split)
    prefix, _, name = head.partition("/")
    kind = prefix.lower()
    if kind in _STREAMS and name:
        raise DataError(
            f"data {text!r} is a stream, but a frozen sample needs random access; use hfds/, torch/ or a folder"
        )
    if kind == "torch" and name:
        return DataSpec(text, "torch", name.lower(), split)
    if kind == "hfds" and name:
        return DataSpec(text, "hfds", name, split)
    return DataSpec(text, "path", head, split)


def _refuse_bare_colon(spec: DataSpec) -> None:
    if spec.split == "":
        raise DataError(f"data {spec.text!r} ends with a colon; name a split after it, or leave the colon out")


def _check_torch(spec: DataSpec) -> None:
    if spec.name not in TORCH_NAMES:
        hint = nearest(spec.name, TORCH_NAMES)
        raise DataError(f"data {spec.text!r}: timm has no torchvision data set {spec.name!r}.{hint}")
    choose_split(spec.text, torch_splits(spec.name), spec.split or None, "test")


def _is_there(text: str) -> bool:
    """Whether a whole spec is a path that exists: a colon in it divides nothing then."""
    try:
        return os.path.lexists(user_path("data", text))
    except ConfigError:
        return False


def _check_path(spec: DataSpec) -> None:
    path = spec.path
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise DataError(f"data {spec.text!r}: {path} can't be accessed: {error.strerror}") from error
        raise DataError(f"data {spec.text!r}: there is no {path}.{_hint(spec, path)}") from None
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and path.suffix == ".parquet"):
        return
    kind = "a file" if stat.S_ISREG(mode) else "neither a folder nor a file"
    raise DataError(f"data {spec.text!r}: {path} is {kind}; give a folder of class folders or of Parquet files")


def _hint(spec: DataSpec, path: Path) -> str:
    """What may have been meant: a sibling on disk or a name that needs no path."""
    example = _EXAMPLES.get(spec.name.rstrip("/").lower())
    if example is not None:
        return f" A data set is named after a slash, as in {example!r}."
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        # The first folder that doesn't exist is the one that is misspelt.
        path, parent = parent, parent.parent
    siblings = _children(parent)
    names = {str(parent / name) if str(parent) != "." else name: name for name in siblings}
    known = [*EMBEDDED_NAMES, *(f"torch/{name}" for name in TORCH_NAMES)] if str(parent) == "." else []
    hint = nearest(path.name, [*siblings, *known], cutoff=_ALIKE)
    if "Did you mean" not in hint:  # whatever else lies there is no help
        return "" if "/" in spec.name else " Data are a folder, or embedded, torch/NAME or hfds/NAME."
    for full, name in names.items():
        hint = hint.replace(f"mean {name!r}", f"mean {full!r}")
    return hint


def _children(folder: Path) -> list[str]:
    """The names of folders and Parquet files in a folder, of a very large one the first."""
    try:
        with os.scandir(folder) as entries:
            seen = list(itertools.islice(entries, _LOOKED_AT))
    except OSError:
        return []
    return [entry.name for entry in seen if entry.name.endswith(".parquet") or _is_folder(entry)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
