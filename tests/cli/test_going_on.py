"""Commands that go on with what was stopped: what a shell makes of them is what was asked."""

import shlex

from visionscope.commands.output import command_text


def test_flags_that_were_given_are_told_as_a_shell_takes_them() -> None:
    given = {"data": "my photos/", "at_most_ms": 2.5, "warm_start": True, "control": False, "mixer": None, "seeds": 0}
    told = command_text(["buildup", "net?layers=(1,2)&x='a'"], given)
    assert shlex.split(told) == [
        *("visionscope", "buildup", "net?layers=(1,2)&x='a'", "--data", "my photos/", "--at-most-ms", "2.5"),
        *("--warm-start", "--seeds", "0"),
    ]
    assert command_text(["run", "study.yaml"], {}) == "visionscope run study.yaml"
