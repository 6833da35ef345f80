"""What a disk refuses, in one line that says what to do."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionscope.errors import StoreError

_ELSEWHERE = "name another folder with --out"
_ADVICE = {
    errno.ENOENT: f"can't be made there; {_ELSEWHERE}",
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a file of this size is not allowed; raise the limit",
    errno.EROFS: f"the file system is read-only; {_ELSEWHERE}",
    errno.EACCES: f"permission denied; {_ELSEWHERE}",
    errno.EPERM: f"permission denied; {_ELSEWHERE}",
    errno.ENOTDIR: "a file stands where a folder should be; move it away",
    errno.EEXIST: "a file stands where a folder should be; move it away",
    errno.EISDIR: "a folder stands where a file should be; move it away",
    errno.ENXIO: "a pipe or a device stands where a file should be; move it away",
    errno.ELOOP: "links lead in a circle; remove them",
    errno.ENAMETOOLONG: f"the path is too long; {_ELSEWHERE}",
}


def advice(error: OSError) -> str:
    """What the disk refused and what helps, such as 'the disk is full; free some space'.

    Args:
        error: as it was raised.
    """
    return _ADVICE.get(error.errno or 0, f"{error.strerror or error}; fix that")


@contextmanager
def refusals(where: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line that says what to do.

    Args:
        where: the file or folder, for errors that name none or only the temporary name of a file.

    Raises:
        StoreError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        named = str(error.filename or where)
        named = str(where) if named.endswith(".tmp") else named
        raise StoreError(
            f"{named}: {advice(error)}, then start the same command again: what is stored is kept"
        ) from error


def check_can_be_written(folder: Path) -> None:
    """Refuses a folder that can't be made or written to, before work is done for it; makes none.

    Args:
        folder: that is there, or will be made.

    Raises:
        StoreError: in the words of `refusals`.
    """
    with refusals(folder):
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        code = 0
        if not stat.S_ISDIR(there.stat().st_mode):
            code = errno.ENOTDIR
        elif os.statvfs(there).f_flag & os.ST_RDONLY:
            code = errno.EROFS
        elif not os.access(there, os.W_OK | os.X_OK):
            code = errno.EACCES
        if code:
            raise OSError(code, os.strerror(code), str(there))
