"""Text from outside as a terminal may see it: one line, without control characters."""

import re

_WHITE = re.compile(r"[ \t\r\n]+")


def printable(text: str) -> str:
    r"""A text in one line, whatever would steer a terminal or hide in it written as `\x1b`.

    Control characters, direction marks and bytes that were no UTF-8 are escaped; runs of white space become one space.

    Args:
        text: a file's name, a label, a key, another program's message.
    """
    line = _WHITE.sub(" ", text).strip(" ")
    return "".join(one if one.isprintable() or one == "\N{NO-BREAK SPACE}" else ascii(one)[1:-1] for one in line)


def message_of(error: BaseException) -> str:
    """What an error says, as it says it; foreign ones may fail even at that.

    Args:
        error: of any kind.
    """
    try:
        return str(error)
    except Exception:
        return "(it has no message that can be read)"


def quoted(value: object, most: int = 80) -> str:
    """A value as a message shows it: its `repr`, in one line, with the middle left out where it is long.

    Args:
        value: what was given.
        most: characters that are shown at most.
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes out no integer of more than some thousand digits
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    text = printable(text)
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"
