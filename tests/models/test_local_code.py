"""The modules that a user's Python file brings in: as they lie on the disk, apart from others, and part of identity."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from visionscope.errors import ConfigError
from visionscope.models.load import LoadedModel, load_model

NET = """
import torch
from torch import nn
{imports}

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        {forward}
        return self.conv(x).mean((2, 3))

def make():
    {make}
    return Net(WIDTH)
"""
BY_PATH = """
import importlib.util, pathlib
_spec = importlib.util.spec_from_file_location("anything", pathlib.Path(__file__).parent / "beside.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
WIDTH = _module.WIDTH
"""


def written(
    folder: Path,
    files: dict[str, str] | None = None,
    *,
    imports: str = "from beside import WIDTH",
    make: str = "pass",
    forward: str = "pass",
) -> str:
    """The spec of a file with a factory, with others beside it; `beside.py` says how wide the network is."""
    for name, text in {"beside.py": "WIDTH = 4", **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "net.py").write_text(NET.format(imports=imports, make=make, forward=forward))
    return f"{folder}/net.py:make"


def load(spec: str) -> LoadedModel:
    return load_model(spec, size=8, mean=(0, 0, 0), std=(1, 1, 1))


WIDE = "WIDTH = 4"
WAYS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "import": ("beside.py", {}, {}),
    "lazily": ("beside.py", {}, {"imports": "", "make": "from beside import WIDTH"}),
    "by name": ("beside.py", {}, {"imports": "import importlib; WIDTH = importlib.import_module('beside').WIDTH"}),
    "by path": ("beside.py", {}, {"imports": BY_PATH}),
    "through another": ("beside.py", {"first.py": "from beside import *"}, {"imports": "from first import WIDTH"}),
    "package": (
        "inner/own.py",
        {"inner/__init__.py": "from .own import WIDTH", "inner/own.py": WIDE},
        {"imports": "from inner import WIDTH"},
    ),
    "init": ("inner/__init__.py", {"inner/__init__.py": WIDE}, {"imports": "import inner as i; WIDTH = i.WIDTH"}),
    "upwards": (
        "inner/own.py",
        {
            "inner/__init__.py": "",
            "inner/own.py": WIDE,
            "inner/deep/__init__.py": "",
            "inner/deep/far.py": "from ..own import WIDTH",
        },
        {"imports": "from inner.deep.far import WIDTH"},
    ),
    "namespace": ("loose/own.py", {"loose/own.py": WIDE}, {"imports": "from loose.own import WIDTH"}),
    "star": ("beside.py", {}, {"imports": "from beside import *"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_changed_is_run_anew_and_makes_another_identity(way: str, tmp_path: Path) -> None:
    place, files, code = WAYS[way]
    spec = written(tmp_path / "one", files, **code)
    first = load(spec)
    assert first.model.conv.out_channels == 4
    assert load(written(tmp_path / "moved", files, **code)).digest == first.digest
    beside = tmp_path / "one" / place
    state = beside.stat()
    beside.write_text("WIDTH = 6")  # as long as before, and as old: what Python's cache goes by
    os.utime(beside, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = load(spec)
    assert again.model.conv.out_channels == 6
    # Other code that makes equal weights is another network, too.
    beside.write_text("WIDTH = 6  # as it was")
    assert len({first.digest, again.digest, load(spec).digest}) == 3
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_stale_cache_of_bytecode_is_not_taken(tmp_path: Path) -> None:
    spec = written(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", "import beside"], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.rglob("beside.*.pyc"))
    state = (tmp_path / "beside.py").stat()
    (tmp_path / "beside.py").write_text("WIDTH = 6")
    os.utime(tmp_path / "beside.py", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load(spec).model.conv.out_channels == 6


def test_equal_names_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    lazily = {"forward": "import beside; assert beside.WIDTH == self.conv.out_channels"}
    one = load(written(tmp_path / "one", **lazily))
    two = load(written(tmp_path / "two", {"beside.py": "WIDTH = 6"}, **lazily))
    assert (one.model.conv.out_channels, two.model.conv.out_channels) == (4, 6)
    for loaded in (one, two, one):
        loaded.model(torch.zeros(1, 3, 8, 8))  # its forward pass imports once more, and finds its own
    assert load(f"{tmp_path}/one/net.py:make").digest == one.digest


def test_a_module_of_the_same_name_that_python_has_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ModuleType("beside")
    other.__file__ = str(tmp_path / "elsewhere" / "beside.py")
    other.WIDTH = 9  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "beside", other)
    before, path = dict(sys.modules), list(sys.path)
    assert load(written(tmp_path / "own")).model.conv.out_channels == 4
    assert sys.modules["beside"] is other
    assert sys.path == path
    assert {name for name in sys.modules if name not in before} <= {n for n in sys.modules if "visionscope" in n}


def test_modules_of_the_working_directory_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "at_work.py").write_text("WIDTH = 4")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    spec = written(tmp_path / "own", imports="from at_work import WIDTH")
    first = load(spec)
    (tmp_path / "work" / "at_work.py").write_text("WIDTH = 4  #")
    assert load(spec).digest != first.digest


def test_what_a_forward_pass_alone_imports_counts(tmp_path: Path) -> None:
    """It changes the numbers, and nobody has run it when the identity is asked for."""
    spec = written(tmp_path, {"late.py": "from later import SCALE", "later.py": "SCALE = 2"}, forward="import late")
    first = load(spec)
    (tmp_path / "later.py").write_text("SCALE = 3")
    assert load(spec).digest != first.digest


def test_files_that_nothing_imports_and_installed_ones_do_not_count(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        {"unrelated.py": "1", "venv/lib/python3/site-packages/installed.py": "A = 1"},
        imports="import sys; sys.path.append(__file__[:-6] + 'venv/lib/python3/site-packages'); import installed\n"
        "from beside import WIDTH",
    )
    first = load(spec)
    (tmp_path / "unrelated.py").write_text("2")
    (tmp_path / "venv/lib/python3/site-packages/installed.py").write_text("A = 2")
    assert load(spec).digest == first.digest
    del sys.modules["installed"]


def test_a_filter_of_weights_is_found_in_the_file_of_the_class(tmp_path: Path) -> None:
    sibling = NET.format(imports="WIDTH = 4", make="pass", forward="pass")
    sibling += "\ndef checkpoint_filter_fn(state, model):\n"
    sibling += "    return {name.replace('old_', ''): value for name, value in state.items()}\n"
    spec = written(tmp_path, {"layers.py": sibling}, imports="WIDTH = 4\nfrom layers import make as of_sibling")
    spec = spec.replace("net.py:make", "net.py:of_sibling")
    state = {f"old_{name}": value + 1 for name, value in load(spec).model.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    assert float(load(f"{spec}@{tmp_path}/w.pth").model.conv.weight.detach()[0, 0]) == 2


def test_what_a_factory_prints_spoils_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(written(tmp_path, {"beside.py": "WIDTH = 4; print('one')"}, make="print('two')"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert {"one", "two"} <= set(captured.err.split())


FAILING = {
    "import sys; sys.exit(3)": r"importing it failed with SystemExit: 3 \(net.py, line 4\)",
    "class Odd(BaseException): ...\nraise Odd('here')": r"importing it failed with Odd: here",
    "def f(): f()\nf()": r"importing it failed with RecursionError: .*\(net.py, line",
    "import absent_package": r"failed with ModuleNotFoundError: No module named 'absent_package' \(net.py, line 4\)",
    "WIDTH = = 4": r"failed with SyntaxError: invalid syntax \(net.py, line 4\)",
    "WIDTH = " + "(" * 300: r"failed with SyntaxError: too many nested parentheses",
    "WIDTH = " + "-" * 100_000 + "1": r"failed with (RecursionError|MemoryError|SyntaxError)",
    "raise ValueError('x' * 5000 + '\\x1b[31m')": r"failed with ValueError: x{250,300} ",
    "from beside import WIDTHS": r"failed with ImportError: cannot import name 'WIDTHS' from 'beside'",
    "import bad": r"failed with SyntaxError: .*\(bad.py, line 1\)",
    "torch.zeros(1, device='cuda:99')": r"failed with \w+: ",
}


@pytest.mark.parametrize("code", FAILING)
def test_code_that_fails_does_so_in_one_line(code: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    for kind in ("imports", "make"):
        if kind == "make" and ("\n" in code or "SyntaxError" in FAILING[code]):
            continue
        message = FAILING[code].replace("importing it failed", "failed") if kind == "make" else FAILING[code]
        message = message.replace("line 4", r"line \d+")
        spec = written(tmp_path / kind, {"bad.py": "def"}, **{kind: code})
        with pytest.raises(ConfigError, match=message) as raised:
            load(spec)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 800
    assert set(sys.modules) - before <= {name for name in sys.modules if "visionscope" in name}


@pytest.mark.parametrize("text", ["raise RuntimeError", "x = []\n        x.append(x); return 'a' * x", "return 3"])
def test_errors_that_can_not_say_themselves(text: str, tmp_path: Path) -> None:
    imports = f"WIDTH = 4\nclass Odd(Exception):\n    def __str__(self):\n        {text}"
    with pytest.raises(ConfigError, match=r"failed with Odd: \(it has no message that can be read\) \(net.py, line"):
        load(written(tmp_path, imports=imports, make="raise Odd"))


def test_threads_of_a_factory_may_import(tmp_path: Path) -> None:
    make = "import threading; t = threading.Thread(target=lambda: __import__('beside')); t.start(); t.join()"
    assert load(written(tmp_path, make=make)).model.conv.out_channels == 4


def test_ctrl_c_stops_a_factory(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(written(tmp_path, make="raise KeyboardInterrupt"))


def test_a_class_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it returned the class Net, return Net\(\)"):
        load(written(tmp_path, make="return Net"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "return torch.zeros(10**15)",
            r"failed with RuntimeError: it needs more memory than is available \(net.py",
        ),
        ("yield 3", "must return a torch.nn.Module; it returned generator"),
        ("return 3", "must return a torch.nn.Module; it returned int"),
        ("raise SystemExit", r"failed with SystemExit \(net.py, line"),
        ("raise GeneratorExit('x')", "failed with GeneratorExit: x"),
        ("m = Net(4); m.pretrained_cfg = {'input_size': 'abc'}; return m", "pretrained_cfg: it can't be read: "),
        ("m = Net(4); m.pretrained_cfg = {'mean': 3}; return m", "pretrained_cfg: it can't be read: "),
        ("m = Net(4); m.pretrained_cfg = {'mean': (float('nan'),) * 3}; return m", "--mean must be finite numbers"),
        ("m = Net(4); m.pretrained_cfg = {'std': ('a',) * 3}; return m", "--std must be finite numbers"),
        ("m = Net(4); m.pretrained_cfg = {'input_size': (3, 10**9, 10**9)}; return m", "--size must be at most 16,384"),
        ("m = Net(4); m.pretrained_cfg = {'input_size': (3, -1, 5)}; return m", "--size must be one or two positive"),
        (
            "m = Net(4); m.pretrained_cfg = {'input_size': (10**9, 8, 8)}; return m",
            "must have from 1 to 65536 channels",
        ),
        ("m = Net(4); m.pretrained_cfg = {'crop_pct': float('inf')}; return m", "the share of the centre crop must be"),
        ("return Net(4).to('meta')", "weights are on the meta device"),
        ("return nn.LazyLinear(3)", "has no shape yet"),
        ("m = Net(4); m.conv.weight = nn.Parameter(torch.eye(3).to_sparse()); return m", "'conv.weight' is sparse"),
        ("m = Net(4); m.conv.weight.data[0] = float('nan'); return m", "the parameter 'conv.weight' holds NaN"),
    ],
)
def test_what_no_network_is(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(written(tmp_path, make=code), random_weights=0)
    assert str(raised.value).isprintable()


def test_a_coroutine_is_closed(tmp_path: Path) -> None:
    spec = written(tmp_path, imports="WIDTH = 4\nasync def later(): return make()").replace(":make", ":later")
    with pytest.raises(ConfigError, match="it returned coroutine"):
        load(spec)


def test_only_python_files_of_sane_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "round.py").symlink_to("round.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    (tmp_path / "latin.py").write_bytes("x = 'é'".encode("latin-1"))
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    with (tmp_path / "huge.py").open("wb") as file:
        file.truncate(2**40)
    for name, message in {
        "pipe": "it is a named pipe, not a file",
        "folder": "it is a folder, not a file",
        "round": "can't be read: .*([Ss]ymlink|symbolic links)",
        "zero": "it is a device, not a file",
        "latin": "SyntaxError: .*utf-8.*",
        "null": "null bytes",
        "huge": "it has 1,099,511,627,776 bytes; at most",
        "absent": "there is no file",
        "x" * 300: "a name in a path has at most 255 bytes",
        "~nobody_at_all/net": "there is no home folder",
    }.items():
        path = name if name[0] in "~" else tmp_path / name
        with pytest.raises(ConfigError, match=message) as raised:
            load(f"x={path}.py:make")
        assert "\n" not in str(raised.value)


def test_networks_from_such_files_are_still_plain_ones(tmp_path: Path) -> None:
    model = load(written(tmp_path)).model
    assert isinstance(copy.deepcopy(model), nn.Module)
    traced = torch.fx.symbolic_trace(model)
    assert torch.equal(traced(torch.ones(1, 3, 4, 4)), model(torch.ones(1, 3, 4, 4)))


SAID = "import json, pathlib, runpy; HERE = pathlib.Path(__file__).parent; "
READ: dict[str, tuple[str, str, dict[str, str]]] = {
    "JSON at import": ("c.json", "4", {"imports": SAID + "WIDTH = json.loads((HERE / 'c.json').read_text())"}),
    "text when called": ("c.txt", "4", {"imports": SAID + "WIDTH = 4", "make": "(HERE / 'c.txt').read_text()"}),
    "bytes by os.open": (
        "c.bin",
        "4",
        {"imports": "import os; WIDTH = int(os.read(os.open(__file__[:-6] + 'c.bin', os.O_RDONLY), 9))"},
    ),
    "run by path": ("c.py", "W = 4", {"imports": SAID + "WIDTH = runpy.run_path(str(HERE / 'c.py'))['W']"}),
    "exec": ("c.py", "W = 4", {"imports": SAID + "exec((HERE / 'c.py').read_text()); WIDTH = W"}),
    "from elsewhere": (
        "../lib/elsewhere.py",
        "WIDTH = 4",
        {"imports": "import sys; sys.path.append(__file__[:-10] + 'lib'); from elsewhere import WIDTH"},
    ),
    "relative, after a change of directory": (
        "c.txt",
        "4",
        {"imports": SAID + "import os; os.chdir(HERE); WIDTH = 4", "make": "pathlib.Path('c.txt').read_text()"},
    ),
}


@pytest.mark.parametrize("way", READ)
def test_what_the_code_reads_counts(way: str, tmp_path: Path) -> None:
    place, content, code = READ[way]
    files = {place: content, "unread.txt": "0"}
    spec = written(tmp_path / "one" / "net", files, **code)
    first, path, modules = load(spec), list(sys.path), set(sys.modules)
    (tmp_path / "one" / "net" / "unread.txt").write_text("1")
    assert load(spec).digest == load(written(tmp_path / "two" / "net", files, **code)).digest == first.digest
    (tmp_path / "one" / "net" / place).write_text(content + " ")
    assert load(spec).digest != first.digest
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if "visionscope" not in name}


def test_a_sibling_that_is_a_link_counts(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("WIDTH = 4")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "linked.py").symlink_to(tmp_path / "real.py")
    spec = written(tmp_path / "net", imports="from linked import WIDTH")
    first = load(spec)
    (tmp_path / "real.py").write_text("WIDTH = 6")
    assert load(spec).model.conv.out_channels == 6
    assert load(spec).digest != first.digest


def test_two_factories_each_have_a_path_of_their_own(tmp_path: Path) -> None:
    code = "import sys; sys.path.append(__file__[:-10] + 'lib'); from elsewhere import WIDTH"
    specs = [
        written(tmp_path / name / "net", {"../lib/elsewhere.py": f"WIDTH = {width}"}, imports=code)
        for name, width in (("one", 4), ("two", 6))
    ]
    assert [load(spec).model.conv.out_channels for spec in specs] == [4, 6]


def test_what_the_code_writes_and_system_files_do_not_count(tmp_path: Path) -> None:
    own = (
        "import os, tempfile, time; name = tempfile.mktemp(); p = pathlib.Path(name); p.write_text(str(time.time())); "
    )
    own += "p.read_text(); pathlib.Path('/proc/self/status').read_text()"
    spec = written(tmp_path, imports="import pathlib; WIDTH = 4", make=own)
    assert load(spec).digest == load(spec).digest
