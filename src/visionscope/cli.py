"""The command line: one line of help per command, one line on stderr for whatever is wrong."""

import sys
import warnings
from collections.abc import Sequence

from visionscope.commands import COMMANDS
from visionscope.core.terminal import escape_what_streams_lack, say, tell
from visionscope.errors import ConfigError, VisionscopeError, nearest
from visionscope.flags import Parser

_USAGE = (
    "usage: visionscope COMMAND ...",
    "",
    "Shows what every block of a vision model does to its feature maps.",
    "",
    "commands; each has its own --help:",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: as on the command line; by default those of the process.

    Returns:
        The exit code: 0; 1 where parts or sections of the page failed; 2 for an error that the user can act on; 130
        after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    escape_what_streams_lack()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about broken files, which we tell of ourselves
    try:
        return _run(given)
    except VisionscopeError as error:
        tell(f"visionscope: {error}")
        return 2
    except KeyboardInterrupt:
        tell("visionscope: stopped")
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        sys.stderr.close()
        return 0


def _run(given: list[str]) -> int:
    name, *rest = given or ["--help"]
    if name not in COMMANDS and name not in ("-h", "--help"):
        raise ConfigError(f"there is no command {name!r}.{nearest(name, COMMANDS)}")
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


if __name__ == "__main__":
    sys.exit(main())
