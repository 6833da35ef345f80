"""Lists of networks: what a file may say, and how what is wrong with a line is told."""

from pathlib import Path

import pytest

from visionscope.errors import ConfigError
from visionscope.experiments.zoo.listing import read_networks
from visionscope.experiments.zoo.plan import network_key
from visionscope.models.spec import parse_spec


def listed(folder: Path, text: str | bytes) -> Path:
    path = folder / "models.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_comments_and_empty_lines_are_left(tmp_path: Path) -> None:
    weights = tmp_path / "own.pth"
    weights.write_bytes(b"")
    text = f"# small ones\n\nresnet18.a1_in1k  # He et al.\n\tmine=vit_nano?depth=2@{weights}#model_ema\n"
    found = read_networks(listed(tmp_path, text))
    assert [(one.line, one.label) for one in found] == [(3, "resnet18.a1_in1k"), (4, "mine")]
    assert found[0].text == "resnet18.a1_in1k"
    assert found[1].spec.checkpoint == Path(f"{weights}#model_ema")
    assert found[1].spec.arguments == {"depth": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet18\nresnet5O\n", r"models.txt, line 2: timm has no model 'resnet5O'\. Did you mean 'resnet50'"),
        ("\nresnet18@gone.pth\n", r"models.txt, line 2: checkpoint gone.pth: there is no such file"),
        ("tim:resnet18\n", r"models.txt, line 1: .*there is no source 'tim'\. Did you mean 'timm'"),
        ("resnet18?num_classes\n", r"models.txt, line 1: .*arguments are written \?KEY=VALUE"),
        ("resnet18\n\nresnet18\n", r"models.txt, line 3: resnet18 stands in line 1, too; give one a label: LABEL=SPEC"),
        ("# nothing\n", r"models.txt must list one model spec or more, a line each; got none"),
        (b"resnet18\n\xff\n", r"models.txt can't be read \(it is not UTF-8 at byte 9\); save it as UTF-8"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_networks(listed(tmp_path, text))


def test_an_ensemble_is_no_network(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pth", "b.pth")]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"line 1: .* names 2 files, an ensemble; one network is needed here"):
        read_networks(listed(tmp_path, f"resnet18@{files[0]},{files[1]}\n"))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models: .*gone\.txt can't be read \(No such file or directory\)"):
        read_networks(tmp_path / "gone.txt")


def test_a_network_is_known_by_name_content_and_images(tmp_path: Path) -> None:
    first, second, changed = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth"))
    for file, content in ((first, b"one"), (second, b"one"), (changed, b"two")):
        file.write_bytes(content)
    key = network_key(parse_spec(f"resnet18@{first}"), "images")
    assert network_key(parse_spec(f"label=resnet18@{second}"), "images") == key
    others = [f"resnet18@{changed}", f"resnet34@{first}", f"resnet18?num_classes=3@{first}", f"resnet18@{first}#ema"]
    keys = {network_key(parse_spec(text), "images") for text in others}
    assert len({*keys, key, network_key(parse_spec(f"resnet18@{first}"), "other images")}) == 6


def test_code_and_folders_count_by_their_content(tmp_path: Path) -> None:
    code, folder = tmp_path / "net.py", tmp_path / "hub"
    folder.mkdir()
    code.write_text("def make(): ...")
    (folder / "config.json").write_text("{}")
    specs = [parse_spec(f"{code}:make"), parse_spec(f"hf:{folder}")]
    before = [network_key(spec, "") for spec in specs]
    code.write_text("def make(): return 1")
    (folder / "config.json").write_text('{"a": 1}')
    assert all(network_key(spec, "") != key for spec, key in zip(specs, before, strict=True))
