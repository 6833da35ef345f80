"""Files that others name: opened only where they are files, read only as far as is sane, written whole or not."""

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from visionscope.core.values import shown
from visionscope.errors import ConfigError

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, as Linux and most file systems have it
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def user_path(parameter: str, text: str) -> Path:
    """The path that a user wrote, with `~` made a home folder; looks at no file.

    Args:
        parameter: for errors.
        text: what was written.

    Raises:
        ConfigError: where no path can be so written: a NUL, an unknown home, a name that no file system can hold.
    """
    if "\0" in text:
        raise ConfigError(f"{parameter}: a path can't hold a NUL character; got {text[:80]!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(f"{parameter}: a path can't hold half of a character; got {text[:80]!r}") from None
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{parameter}: there is no home folder {text.partition('/')[0]!r}; got {text!r}") from None
    if max((len(os.fsencode(part)) for part in path.parts), default=0) > _LONGEST_NAME:
        raise ConfigError(f"{parameter}: a name in a path has at most {_LONGEST_NAME} bytes; got {text[:40]!r}...")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"{parameter}: a path has at most {_LONGEST_PATH} bytes; got {text[:40]!r}...")
    return path


def given_path(parameter: str, given: object) -> Path:
    """The path that a library call was given: text as a user writes it, or a path object as it is.

    Args:
        parameter: for errors.
        given: what the caller gave.

    Raises:
        ConfigError: for what is neither, and where no path can be so written.
    """
    if isinstance(given, os.PathLike):
        path = os.fspath(given)
        if isinstance(path, str) and "\0" not in path:
            return Path(path)
    if isinstance(given, str) and given.strip():
        return user_path(parameter, given)
    raise ConfigError(f"{parameter}: must be a path, as text or as pathlib.Path; got {shown(given)}")


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading; a pipe, a device or a folder is refused without waiting for it.

    Args:
        path: of the file; links are followed.

    Raises:
        OSError: when it can't be opened, or is no regular file; `strerror` says which.
    """
    # A pipe without a writer would block for ever in open() itself.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"it is {kind}, not a file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: bytes that are read at most.

    Raises:
        OSError: when it can't be read, is no regular file, or is larger; `strerror` says which.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes; at most {most:,} are read", str(path))
    return content


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a file under another name in its folder, flushes it to the disk, and renames it.

    Readers see the old file or the new one, whatever is killed and however many write. The user's umask holds.

    Args:
        path: the file; its folder must be there.
        content: all of it, or a function that writes it into an open file.

    Raises:
        OSError: when the disk refuses; what was there before stays.
    """
    temporary = path.with_name(f".{path.name[:180]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # Ctrl-C and a full disk leave no litter; what kill -9 leaves ends in .tmp and is never read.
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
