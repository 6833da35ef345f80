"""Folders of Hugging Face models, looked at before the library opens what lies in them or what they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visionscope.core.files import read_regular
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models.weight_formats import check_archive

_LARGEST_JSON = 2**24  # bytes; tokenizers are larger, but not read
_READ = ("*config.json", "*.index.json")
_WEIGHTS = ("*.safetensors", "*.bin")


def check_folder(name: str, place: Path) -> None:
    """Refuses a model whose folder lacks its configuration, or holds or names what would be waited for without end.

    Args:
        name: of the model, for errors.
        place: a folder, a configuration file, or what is neither, which is let through.

    Raises:
        ConfigError: naming the file and what is wrong with it.
    """
    if not place.is_dir():
        if place.exists():
            _read_json(name, place.name, place)
        return
    _check_kind(name, place)
    for path in _matching(place, _READ):
        content = _read_json(name, path.name, path)
        if path.name.endswith(".index.json"):
            _check_shards(name, path, content)
        elif path.name == "config.json" and isinstance(content, dict) and "transformers_weights" in content:
            _check_named(name, "config.json", place, content["transformers_weights"])
    for path in _matching(place, _WEIGHTS):
        _check_regular(name, path.name, path)


def _matching(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(folder.glob(pattern))


def _check_kind(name: str, folder: Path) -> None:
    """Refuses an adapter, and a folder without a configuration, with the one that was meant where it can be told."""
    if (folder / "adapter_config.json").exists():
        raise ConfigError(
            f"hf:{name}: the folder holds an adapter, which only changes another network; merge it into that with "
            "merge_and_unload(), and name the folder that save_pretrained() writes then"
        )
    # A link to nowhere is there, too, and reading it says so.
    if (folder / "config.json").exists() or (folder / "config.json").is_symlink():
        return
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if inside:
        raise ConfigError(
            f"hf:{name}: the folder has no config.json. Did you mean 'hf:{name.rstrip('/')}/{inside[0]}'?"
        )
    files = sorted(printable(path.name) for path in folder.iterdir())
    found = f"only {', '.join(files[:3])}{', ...' if files[3:] else ''}" if files else "it is empty"
    raise ConfigError(
        f"hf:{name}: the folder has no config.json, {found}; name one that save_pretrained() wrote a model to"
    )


def _check_shards(name: str, index: Path, content: Any) -> None:
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        raise ConfigError(f"hf:{name}: {index.name} has no weight_map that names the files of the weights")
    for shard in sorted(set(map(str, shards.values()))):
        _check_named(name, index.name, index.parent, shard)


def _check_named(name: str, by: str, folder: Path, file: Any) -> None:
    """A file that another one names: a plain name of a regular file that lies there, links followed."""
    if not isinstance(file, str) or file in ("", "..") or "\0" in file or Path(file).name != file:
        raise ConfigError(f"hf:{name}: {by} names {quoted(file)}; weights must be files of the same folder")
    path = folder / file
    _check_regular(name, printable(file), path)
    # The library's cache keeps the files themselves beside its snapshots, and links to them.
    home = folder.resolve()
    home = home.parent.parent if home.parent.name == "snapshots" else home
    if not path.resolve().is_relative_to(home):
        raise ConfigError(
            f"hf:{name}: {by} names {quoted(file)}, a link out of the folder; put the file itself in its place"
        )


def _read_json(name: str, file: str, path: Path) -> Any:
    try:
        return json.loads(read_regular(path, _LARGEST_JSON))
    except OSError as error:
        raise ConfigError(f"hf:{name}: {printable(file)} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else printable(str(error))
        raise ConfigError(f"hf:{name}: {printable(file)} can't be read as JSON: {reason}") from error


def _check_regular(name: str, file: str, path: Path) -> None:
    try:
        check_archive(path)
    except OSError as error:
        raise ConfigError(f"hf:{name}: {printable(file)} can't be read: {error.strerror or error}") from error
