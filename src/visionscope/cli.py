"""The command line: one line of help per command, one line on stderr for whatever is wrong.

Exit codes: 0; 1 where parts or sections of the page failed, or where visionscope itself is wrong; 2 for an error that
the user can act on; 129 after SIGHUP, 130 after Ctrl-C, 143 after SIGTERM. A fault of visionscope's own is one line,
too; with the environment variable VISIONSCOPE_DEBUG set, its traceback is shown. No library is imported above `main`,
so that what fails while it is ends in one line, too.
"""

import errno
import os
import resource
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from visionscope.core.printable import message_of, printable
from visionscope.core.terminal import escape_what_streams_lack, say, tell
from visionscope.errors import ConfigError, VisionscopeError, nearest

DEBUG = "VISIONSCOPE_DEBUG"
_USAGE = (
    "usage: visionscope COMMAND ...",
    "",
    "Shows what every block of a vision model does to its feature maps.",
    "",
    "commands; each has its own --help:",
)
_OF_THE_DISK = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EPERM", "EMFILE", "ENFILE")
}
_OUT_OF_MEMORY = ("failed to map segment", "Cannot allocate memory", "can't allocate memory")
_NEEDS_LESS = {
    **dict.fromkeys(("diagnose", "harmonize"), "a smaller --batch or --size, or another --device, needs less"),
    "run": "a smaller --batch, or another --device, needs less",
    "train": "a smaller --batch-size needs less",
    "points": "a smaller --size needs less",
}
_LONGEST = 1000  # characters of a message; some list names to choose from


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: as on the command line; by default those of the process.

    Returns:
        The exit code, as the module's documentation lists them.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    # No file of ours has a date; numpy and matplotlib fail at one that is no number.
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about broken files, which we tell of ourselves
    try:
        # Importing what the commands need can fail as anything else can.
        from visionscope.commands.output import exit_code, stoppable

        escape_what_streams_lack()
        try:
            with stoppable():
                code = _ended(given)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt as stop:
            _tell("stopped")
            return exit_code(stop)
    except KeyboardInterrupt:
        _tell("stopped")
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough; nothing may be written at exit either.
        _discard(sys.stdout)
        return 0
    except Exception as error:
        return _told(error, given[0] if given else "")


def _ended(given: list[str]) -> int:
    try:
        return _run(given)
    except SystemExit as end:
        if end.code in (None, 0):  # argparse's after --help
            return 0
        raise VisionscopeError(f"a network's or a library's own code ended the program (exit {end.code})") from end


def _run(given: list[str]) -> int:
    from visionscope.commands import COMMANDS
    from visionscope.flags import Parser

    name, *rest = given or ["--help"]
    if name not in COMMANDS and name not in ("-h", "--help"):
        raise ConfigError(f"there is no command {name[:80]!r}.{nearest(name[:80], COMMANDS)}")
    if name in COMMANDS:
        command = COMMANDS[name]
        parser = Parser(prog=f"visionscope {name}", description=command.help)
        command.flags(parser)  # no other command's flags are made
        return command.run(parser.parse_args(rest))
    for line in _USAGE:
        say(line)
    for known, command in COMMANDS.items():
        say(f"  {known:<12}{command.help}")
    return 0


def _told(error: Exception, command: str) -> int:
    """Says in one line what went wrong, and returns the exit code."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    if isinstance(error, VisionscopeError):
        _tell(str(error))
        return 2
    if _is_out_of_memory(error):
        _tell(_more_memory(error, command))
        return 2
    if isinstance(error, RecursionError):
        _tell("the input is nested too deeply")
        return 2
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        _discard(sys.stdout)
        _tell(f"{error.strerror}{f': {error.filename}' if error.filename else ''}")
        return 2
    hint = "" if os.environ.get(DEBUG) else f"; run it again with {DEBUG}=1 for the traceback"
    _tell(f"this is a bug in visionscope: {type(error).__name__}: {message_of(error)[: _LONGEST // 2]}{hint}")
    return 1


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, (ImportError, OSError)) and any(words in message_of(error) for words in _OUT_OF_MEMORY)


def _more_memory(error: Exception, command: str) -> str:
    """What ran out, and what would help: in a shell with a limit to raise that one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        advice = f"a limit of {limit / 2**30:.1f} GiB is set on this process; raise it with ulimit -v"
    else:
        advice = _NEEDS_LESS.get(command, "close other programs")
    lines = message_of(error).strip().splitlines()
    reason = next((line for line in lines if any(words in line for words in _OUT_OF_MEMORY)), "".join(lines[:1]))
    return f"not enough memory; {advice}{f' ({reason.strip()})' if reason else ''}"


def _tell(message: str) -> None:
    line = f"{message[:_LONGEST]}..." if len(message) > _LONGEST else message
    with suppress(OSError, ValueError):  # nobody listens on stderr
        tell(f"visionscope: {printable(line)}")


def _open_streams() -> None:
    """Puts something in the place of a stream that the caller closed, which is None then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _discard(stream: object) -> None:
    """Lets what a stream still holds go nowhere, so that Python's own flush at exit finds no fault."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)


def run() -> NoReturn:
    """Runs this process's command and ends it; threads that a network's own code left running are not waited for."""
    code = main()
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
