"""YAML as people write it: what it means, what is refused and where, and that what is written reads back."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.core.documents import MOST_BYTES, document_text, read_document
from visionscope.errors import ConfigError


def read(folder: Path, content: str | bytes) -> dict[str, Any]:
    path = folder / "s.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document("study", path)


def test_words_mean_what_yaml_1_2_says(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        "a: 1\nb: 1e-3\nc: yes\nd: 12:30:45\ne: 1_000\nf: 0x10\ng: 2026-01-01\nh: true\ni: ~\nj:\nk: '1'\nl: 010\n"
        "m: [a, 2.5]\nn: {o: off}\np: |\n  x\n  y\n",
    ) == {
        **{"a": 1, "b": 0.001, "c": "yes", "d": "12:30:45", "e": "1_000", "f": "0x10", "g": "2026-01-01", "h": True},
        **{"i": None, "j": None, "k": "1", "l": 10, "m": ["a", 2.5], "n": {"o": "off"}, "p": "x\ny\n"},
    }
    assert read(tmp_path, "\ufeffa: 1") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"s.yaml, line 3: key 'a' is given twice"),
        ("a: {b: 1, b: 2}", r"line 1: key 'b' is given twice"),
        ("a: &x [1]\nb: *x", r"line 1: anchors and aliases \(& and \*\) aren't read; write the value out"),
        ("a: &x [*x]", "anchors and aliases"),
        ("a: *x", "anchors and aliases"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]", "anchors and aliases"),
        ("<<: {a: 1}", r"merge keys \(<<\) aren't read"),
        ("a: !!python/object/apply:os.system [ls]", "tags such as tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: !mine 3", "line 1: tags such as !mine aren't read"),
        ("a: !!int 3", "tags such as tag:yaml.org,2002:int aren't read"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins; only one is read"),
        ("1: 2", "line 1: a key must be text"),
        ("null: 2", "a key must be text"),
        ("? [a]\n: 3", "a key must be text"),
        ("- a", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("# only a comment", "must hold keys and values"),
        ("just text", "must hold keys and values"),
        ("a:\n\tb: 1", "is not valid YAML .*line 2"),
        ("a: [1,", "is not valid YAML"),
        ("a: 'b", "is not valid YAML"),
        ("a: b: c", r"is not valid YAML \(mapping values are not allowed in this context, line 1, column 5\)"),
        ("a: \x00", "is not valid YAML"),
        ("a: \x1b[31m", "is not valid YAML"),
        (b"a: \xff", r"is not valid YAML \(it is not UTF-8 at byte 3\)"),
        ("a: 1".encode("utf-16"), "is not UTF-8"),
        ("a: " + "[" * 100_000, "line 1: is nested more than 16 deep"),
        ("{a: " * 50_000, "nested more than 16 deep"),
        ("- " * 50_000, "nested more than 16 deep"),
        ("? " * 50_000, "nested more than 16 deep|a key must be text"),
        ("a: " + "x" * MOST_BYTES, r"can't be read \(it has 1,048,579 bytes; at most 1,048,576 are read\)"),
    ],
)
def test_what_is_refused_is_one_line_within_a_second(content: str | bytes, message: str, tmp_path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, content)
    assert time.process_time() - begun < 1
    assert str(caught.value).isprintable()
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200


def test_numbers_beyond_all_bounds_are_read_without_fault(tmp_path: Path) -> None:
    found = read(tmp_path, f"a: {'9' * 3000}\nb: {'9' * 5000}\nc: 1e999\nd: .nan\ne: -.inf")
    assert found["a"] > 10**2999
    assert [str(found[name]) for name in "bcde"] == ["inf", "inf", "nan", "-inf"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "absent", "loop"])
def test_only_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    with pytest.raises(ConfigError, match=f"study: {path} can't be read"):
        read_document("study", path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<~01", max_size=4), inner, max_size=4),
    max_leaves=12,
)
words = st.sampled_from(
    ["1e-3", "yes", "null", "~", "1", "0x1", ".5", "-.inf", "true", "<<", "=", "2026-01-01", "12:30", ""]
)


@given(st.dictionaries(st.text("abc1. ", max_size=6), values | words, max_size=4))
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    content.pop("<<", None)
    found = read(tmp_path_factory.getbasetemp(), document_text({"a": 0, **content}))
    assert found == {"a": 0, **content}
    assert repr(found) == repr({"a": 0, **content})  # 1 is not 1.0, nor True
