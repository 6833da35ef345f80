"""The command line: one line of help per command, one line on stderr for whatever is wrong."""

import sys
from collections.abc import Sequence

from visionscope.commands import COMMANDS
from visionscope.config import Parser
from visionscope.errors import ConfigError, VisionscopeError, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: as on the command line; by default those of the process.

    Returns:
        The exit code: 0; 1 where parts or sections of the page failed; 2 for an error that the user can act on; 130
        after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except VisionscopeError as error:
        print(f"visionscope: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("visionscope: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        sys.stderr.close()
        return 0


def _run(given: list[str]) -> int:
    name = given[0] if given else "--help"
    if name not in COMMANDS and not name.startswith("-"):
        raise ConfigError(f"there is no command {name!r}.{nearest(name, COMMANDS)}")
    parser = Parser(
        prog="visionscope", description="Shows what every block of a vision model does to its feature maps."
    )
    commands = parser.add_subcommands(required=True, metavar="COMMAND")
    for known, command in COMMANDS.items():
        own = Parser(description=command.help)
        if known == name:
            # Only the chosen command's flags are made: those of a diagnosis need the diagnostics and torch.
            command.flags(own)
        commands.add_subcommand(known, own, help=command.help)
    parsed = parser.parse_args(given or ["--help"])
    return COMMANDS[name].run(parsed[name])


if __name__ == "__main__":
    sys.exit(main())
