"""What a command imports before it needs it: libraries that take seconds, and diagnostics that nobody asked for."""

import subprocess
import sys
import textwrap

from running.conftest import NETWORKS

LATE = ("datasets", "jinja2", "lightning_fabric", "matplotlib", "pandas", "plotly", "pytorch_optimizer", "scipy")
PLANNED = f"""
    import sys
    import torch, timm
    before = set(sys.modules)  # what the two bring along is theirs
    from visionscope.commands.studies import diagnose, diagnose_flags
    from visionscope.flags import Parser
    import visionscope.running.execute

    class FirstImage(Exception):
        pass

    def stop(*given, **named):
        raise FirstImage

    visionscope.running.execute.execute = stop
    parser = Parser()
    diagnose_flags(parser)
    asked = ["cnn={NETWORKS}:convolutions", "--data", "embedded", "--images", "8", "--device", "cpu", "--yes"]
    folder = "visionscope.diagnostics."
    for only in ("fourier", "all"):
        try:
            diagnose(parser.parse_args([*asked, "--out", sys.argv[1], "--only", only]))
        except FirstImage:
            new = set(sys.modules) - before
            late = sorted(set({LATE!r}) & {{name.partition(".")[0] for name in new}})
            names = {{name.removeprefix(folder).partition(".")[0] for name in new if name.startswith(folder)}}
            print(only, *late, *sorted(name for name in names if name[0] != "_"))
"""


def test_planning_imports_neither_what_draws_nor_what_was_not_asked_for(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PLANNED), str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    one, everything = found.stdout.splitlines()
    assert one == "fourier fourier"
    assert [name for name in LATE if name in everything.split()] == []
