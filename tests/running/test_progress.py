import os
import pty
import re
import subprocess
import sys

from visionscope.running.progress import Progress

PROGRAM = """
from visionscope.running.progress import Progress
with Progress([("a", "cnn fourier", 300), ("b", "cnn variance", 300)]) as progress:
    progress.skip("b", 256)
    progress.advance(["a"], 64)
    progress.say("part 0000-0256 takes about 11 minutes")
    progress.advance(["a", "b"], 44)
"""


def test_a_bar_per_job_and_one_in_total_on_a_terminal():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while some := os.read(ours, 4096):
            said += some
    except OSError:
        pass  # how Linux tells that the other end was closed
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())
    for name, count in (("cnn fourier", "108/300"), ("cnn variance", "44/44"), ("total", "152/344")):
        assert re.search(rf"{name} +[━╸╺ ]+ *{count} +images .* left ", text)
    assert "part 0000-0256 takes about 11 minutes" in text


def test_nothing_where_there_is_no_terminal(capsys):
    with Progress([("a", "cnn fourier", 300)]) as progress:
        progress.advance(["a"], 300)
        progress.say("part 0000-0256 takes about 11 minutes")
    assert capsys.readouterr() == ("", "")
