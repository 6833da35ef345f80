"""The finished run of tests/running serves the command line's tests, too."""

from running.conftest import finished

__all__ = ["finished"]
