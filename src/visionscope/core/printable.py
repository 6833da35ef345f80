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
