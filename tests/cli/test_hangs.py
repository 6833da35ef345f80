"""What never ends or never fits, in every place where a path can be given: one line, and soon.

Each case runs the real command line in a process of its own, bounded in memory and time.
"""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reference.forking import CommandLine

NETWORKS = Path(__file__).parents[1] / "running" / "networks.py"
SECONDS = 30.0  # of wall time, on a busy machine
PROCESSOR = 8.0  # seconds that an error may take once torch and timm are imported
MEMORY = 900.0  # MiB

Make = Callable[[Path], object]


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    with CommandLine() as called:
        yield called


@pytest.fixture(scope="module")
def run_folder(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one model and one diagnostic; not to be changed."""
    folder = tmp_path_factory.mktemp("done")
    asked = ("--data", "embedded", "--only", "fourier", "--images", "8", "--device", "cpu", "--out", "run")
    ended = command_line("diagnose", f"cnn={NETWORKS}:convolutions", *asked, folder=folder, timeout=120)
    assert ended.code == 0, ended
    return folder / "run"


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**42)


def _bomb(path: Path) -> None:
    """A gibibyte of zeros in a mebibyte, as an archive of torch has them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("archive/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(1024):
                entry.write(bytes(2**20))
        file.writestr("archive/version", "3\n")


def _safetensors(path: Path, length: int, header: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", length) + header)


def _claiming(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}).encode()
    _safetensors(path, len(header), header)


def _recursive(path: Path) -> None:
    """A list that holds itself, as the state of a network."""
    held: list[object] = []
    held.append(held)
    path.write_bytes(pickle.dumps({"state_dict": held}))


def _nested(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"(" * 2_000_000 + b"t" * 2_000_000 + b".")


def _laughs(path: Path) -> None:
    """Lists of lists that stand for 10^30 entries, some bytes each."""
    held: list[object] = [0] * 10
    for _ in range(30):
        held = [held] * 10
    path.write_bytes(pickle.dumps({"state_dict": {"w": held}}))


def _yaml_laughs(path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 30)]
    path.write_text("\n".join([*lines, "models: *a29", "data: embedded"]))


def _yaml_deep(path: Path) -> None:
    path.write_text("models: " + "[" * 200_000)


def _yaml_number(path: Path) -> None:
    path.write_text("models: [resnet_nano]\ndata: embedded\nseed: " + "9" * 2_000_000)


FILES: dict[str, Make] = {
    "pipe": os.mkfifo,
    "device": _device,
    "loop": _loop,
    "folder": lambda path: path.mkdir(),
    "huge": _huge,
}
CHECKPOINTS: dict[str, Make] = {
    **{f"{kind}{ending}": make for kind, make in FILES.items() for ending in (".safetensors", ".pth")},
    "length.safetensors": lambda path: _safetensors(path, 2**62),
    "header.safetensors": lambda path: _safetensors(path, 2**20, b"[" * 2**20),
    "claiming.safetensors": _claiming,
    "bomb.pth": _bomb,
    "recursive.pth": _recursive,
    "nested.pth": _nested,
    "laughs.pth": _laughs,
}
STUDIES: dict[str, Make] = {
    **{f"{kind}.yaml": make for kind, make in FILES.items()},
    "laughs.yaml": _yaml_laughs,
    "deep.yaml": _yaml_deep,
    "number.yaml": _yaml_number,
}
FAST = {"pipe.safetensors", "bomb.pth", "device.yaml", "laughs.yaml"}


def _marked(names: dict[str, Make]) -> list[object]:
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def _is_one_line(command_line: CommandLine, *arguments: str, folder: Path, codes: tuple[int, ...] = (2,)) -> str:
    ended = command_line(*arguments, folder=folder, timeout=SECONDS)
    assert ended.code is not None, f"hung: {arguments}"
    assert ended.code in codes, ended
    lines = ended.err.splitlines()
    assert all(line.startswith("visionscope: ") for line in lines), ended.err
    assert len(lines) == 1 or ended.code != 2, ended.err
    assert "Traceback" not in ended.err
    assert ended.seconds < PROCESSOR, ended
    assert ended.peak < MEMORY, ended
    return ended.err


def _diagnose(model: str = f"cnn={NETWORKS}:convolutions", data: str = "embedded", *more: str) -> tuple[str, ...]:
    return ("diagnose", model, "--data", data, "--images", "8", "--only", "fourier", "--device", "cpu", *more)


@pytest.mark.parametrize("name", _marked(CHECKPOINTS))
def test_files_of_weights(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    CHECKPOINTS[name](tmp_path / name)
    told = _is_one_line(command_line, *_diagnose(f"resnet_nano@{name}"), folder=tmp_path)
    assert name in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_files_of_factories(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "own.py")
    _is_one_line(command_line, *_diagnose("own.py:make"), folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folders_of_hugging_face_models(name: str, kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    if name != "config.json":
        config = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        (tmp_path / "hub" / "config.json").write_text(json.dumps({**config, "image_size": 32, "patch_size": 16}))
    FILES[kind](tmp_path / "hub" / name)
    _is_one_line(command_line, *_diagnose("hf:./hub"), folder=tmp_path)


def _picture(path: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path, "PNG")


def _class_folder(root: Path) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        _picture(root / name / "0.png")
    return root


def _image_pipe(root: Path) -> None:
    os.mkfifo(_class_folder(root) / "dog" / "1.png")


def _image_device(root: Path) -> None:
    _device(_class_folder(root) / "dog" / "1.png")


def _folder_loop(root: Path) -> None:
    (_class_folder(root) / "dog" / "again").symlink_to(root)


def _many_ways(root: Path) -> None:
    """2^40 ways through 40 folders."""
    for number in range(40):
        (root / f"d{number}").mkdir(parents=True)
        for link in ("x", "y"):
            (root / f"d{number}" / link).symlink_to(root / f"d{number + 1}")
    (root / "d40").mkdir()
    _picture(root / "d40" / "0.png")


def _pixels(root: Path) -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + b"\0\0\0\0"
    (_class_folder(root) / "dog" / "0.png").write_bytes(file)


def _stripe(root: Path) -> None:
    Image.new("RGB", (1, 60_000)).save(_class_folder(root) / "dog" / "0.png")


def _huge_image(root: Path) -> None:
    (_class_folder(root) / "dog" / "0.png").unlink()
    _huge(root / "dog" / "0.png")


def _rows(root: Path, cells: pa.Array) -> None:
    root.mkdir()
    pq.write_table(pa.table({"image": cells, "label": pa.array([0] * len(cells))}), root / "x.parquet")


def _parquet_paths(root: Path) -> None:
    _rows(root, pa.array([{"bytes": None, "path": "/dev/zero"}] * 4))


def _parquet_pipe(root: Path) -> None:
    _rows(root, pa.array([{"bytes": None, "path": "pipe.png"}] * 4))
    os.mkfifo(root / "pipe.png")


def _parquet_file(root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "x.parquet")


def _repeated(root: Path) -> None:
    value = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(value, "BMP")
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([value.getvalue()]))
    root.mkdir()
    table = pa.table({"image": cells})
    pq.write_table(table, root / "x.parquet", dictionary_pagesize_limit=2**28, store_schema=False)


def _published_pipe(root: Path) -> None:
    root.mkdir()
    for name in ("fog", "labels"):
        os.mkfifo(root / f"{name}.npy")


def _published_claim(root: Path) -> None:
    root.mkdir()
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 1000, 3), }"
    line = shape.encode().ljust(117) + b"\n"
    for name in ("fog", "labels"):
        (root / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line)


DATA: dict[str, Make] = {
    "pipe": os.mkfifo,
    "device": _device,
    "loop": _loop,
    "pipe.parquet": os.mkfifo,
    "device.parquet": _device,
    "huge.parquet": _huge,
    "image pipe": _image_pipe,
    "image device": _image_device,
    "folder loop": _folder_loop,
    "many ways": _many_ways,
    "pixels": _pixels,
    "stripe": _stripe,
    "huge image": _huge_image,
    "parquet paths": _parquet_paths,
    "parquet pipe": _parquet_pipe,
    "parquet file": _parquet_file,
}
FAST |= {"image pipe", "many ways", "parquet paths"}


@pytest.mark.parametrize("name", _marked(DATA))
def test_data(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    DATA[name](tmp_path / name)
    # An image that can't be used costs its part alone.
    _is_one_line(command_line, *_diagnose(data=name), folder=tmp_path, codes=(1, 2))


@pytest.mark.slow
def test_a_value_repeated_in_parquet(command_line: CommandLine, tmp_path: Path) -> None:
    _repeated(tmp_path / "data")
    ended = command_line(*_diagnose(data="data"), folder=tmp_path, timeout=2 * SECONDS, memory=8000)
    assert ended.code == 1, ended
    assert "unpacks to" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("make", [_published_pipe, _published_claim, _folder_loop, os.mkfifo])
@pytest.mark.parametrize("field", ["corruption", "shape_bias"])
def test_published_sets(field: str, make: Make, command_line: CommandLine, tmp_path: Path) -> None:
    make(tmp_path / "set")
    more = (
        "--only",
        field,
        f"--{field}.folder",
        "set",
        *(("--corruption.types", "fog") if field == "corruption" else ()),
    )
    asked = ("diagnose", f"cnn={NETWORKS}:convolutions", "--data", "embedded", "--device", "cpu", *more)
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.parametrize("name", _marked(STUDIES))
def test_files_of_studies(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    STUDIES[name](tmp_path / name)
    _is_one_line(command_line, "run", name, folder=tmp_path)


def _file_of(run: Path, name: str) -> Path:
    (job,) = (run / "fourier").iterdir()
    (part,) = job.glob("*.parquet")
    places = {"job.json": job / "job.json", "part": part, "error": part.with_suffix(".error.json")}
    return places.get(name, run / name)


RUN_FILES = (
    "job.json",
    "part",
    "error",
    "study.yaml",
    "log.txt",
    "environment.json",
    "report.html",
    "studies",
    "fourier",
)
FAST_RUN = {("job.json", "pipe"), ("part", "device")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in FAST_RUN else pytest.mark.slow)
        for name in RUN_FILES
        for kind in ("pipe", "device", "loop", "huge")
    ],
)
def test_files_of_a_run(name: str, kind: str, command_line: CommandLine, run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    path = _file_of(run, name)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    FILES[kind](path)
    for command in ("status", "report"):
        _is_one_line(command_line, command, "run", folder=tmp_path, codes=(0, 1, 2))
    again = _diagnose(f"cnn={NETWORKS}:convolutions", "embedded", "--out", "run")
    _is_one_line(command_line, *again, folder=tmp_path, codes=(0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "huge"])
@pytest.mark.parametrize("command", ["status", "report", "diagnose", "train"])
def test_folders_of_runs(command: str, kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "run")
    if command == "diagnose":
        asked = _diagnose(f"cnn={NETWORKS}:convolutions", "embedded", "--out", "run")
    elif command == "train":
        asked = ("train", "resnet_nano", "--data", "embedded", "--out", "run")
    else:
        asked = (command, "run")
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_checkpoints_of_a_plane(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "other.pth")
    more = ("--only", "landscape", "--landscape.checkpoints", "other.pth", "--landscape.points", "3")
    asked = ("diagnose", "resnet_nano", "--random-weights", "0", "--data", "embedded", "--device", "cpu", *more)
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_file_to_write(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    """A pipe or a link may give way to a file; a folder may not, and nothing may wait."""
    FILES[kind](tmp_path / "out.safetensors")
    asked = ("harmonize", "resnet_nano", "--msa", "0,1,1", "--random-weights", "0", "--device", "cpu", "--batch", "1")
    _is_one_line(command_line, *asked, "--out", "out.safetensors", folder=tmp_path, codes=(0, 2))


def test_the_bounds_hold(command_line: CommandLine, tmp_path: Path) -> None:
    """The server itself: a call that hangs is killed, and one that eats memory fails alone."""
    (tmp_path / "slow.py").write_text("import time\ndef make():\n    time.sleep(60)\n")
    (tmp_path / "wide.py").write_text("def make():\n    bytes(2**40)\n")
    assert command_line(*_diagnose("slow.py:make"), folder=tmp_path, timeout=3).code is None
    assert command_line(*_diagnose("wide.py:make"), folder=tmp_path).code == 2
    assert command_line("models", "resnet_nano", folder=tmp_path).out == "resnet_nano\n"
