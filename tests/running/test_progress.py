import os
import pty
import re
import subprocess
import sys

from visionscope.running.progress import Bar, Progress

PROGRAM = """
import sys
from visionscope.running.progress import Bar, Progress
bars = [Bar("a", "cnn fourier", 300), Bar("b", "cnn variance", 300), Bar("c", "cnn hessian", 4, "parts", 1000.0)]
with Progress(bars[:int(sys.argv[1])]) as progress:
    progress.skip("b", 256)
    progress.advance(["a"], 64)
    progress.say("part 0000-0256 takes about 11 minutes")
    progress.advance(["a", "b"], 44)
    if len(sys.argv[1:]) == 2:
        progress.skip("c", 1)
        progress.advance(["c"], 2)
"""


def said_on_a_terminal(*arguments: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while some := os.read(ours, 4096):
            said += some
    except OSError:
        pass  # how Linux tells that the other end was closed
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())


def test_a_bar_per_job_and_one_in_total_on_a_terminal():
    text = said_on_a_terminal("2")
    for name, count in (("cnn fourier", "108/300"), ("cnn variance", "44/44"), ("total", "152/344")):
        assert re.search(rf"{name} +[━╸╺ ]+ *{count} +images .* left ", text)
    assert "part 0000-0256 takes about 11 minutes" in text


def test_jobs_in_parts_weigh_in_the_total_what_they_take():
    text = said_on_a_terminal("3", "more")
    assert re.search(r"cnn hessian +[━╸╺ ]+ *2/3 +parts .* left ", text)
    # 152 of 344 images, and 2000 of 3000 passes.
    assert re.search(r"total +[━╸╺ ]+ *2152/3344 +passes .* left ", text)


def test_nothing_where_there_is_no_terminal(capsys):
    with Progress([Bar("a", "cnn fourier", 300)]) as progress:
        progress.advance(["a"], 300)
        progress.say("part 0000-0256 takes about 11 minutes")
    assert capsys.readouterr() == ("", "")
