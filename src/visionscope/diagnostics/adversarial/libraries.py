"""Which libraries make the attacks, and whether they are there."""

import importlib.util
from importlib.metadata import version

LIBRARIES = {"fgsm": "foolbox", "pgd": "foolbox", "autoattack": "pyautoattack"}


def missing(attack: str) -> str:
    """What has to be installed for an attack, or "".

    Args:
        attack: a key of `LIBRARIES`.
    """
    library = LIBRARIES[attack]
    if importlib.util.find_spec(library) is not None:
        return ""
    return "pip install 'visionscope[attacks]'" if library == "foolbox" else f"pip install {library}"


def library_of(attack: str) -> str:
    """Name and version of the library that makes an attack.

    Args:
        attack: a key of `LIBRARIES`.
    """
    return f"{LIBRARIES[attack]} {version(LIBRARIES[attack])}"
