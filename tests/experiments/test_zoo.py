"""`replicate --scale zoo` from the command line: three small networks, what is missing, going on, and status."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

import visionscope.models.load  # noqa: F401  # registers the networks
from visionscope.cli import main
from visionscope.core.documents import document_text
from visionscope.experiments import catalogue
from visionscope.experiments.zoo import measuring
from visionscope.models import at_hand

SETTINGS: dict[str, Any] = {"images": 32, "data": "embedded"}
STUDIES: dict[str, dict[str, Any]] = {
    "2a": {"only": ["fourier"], "claims": ["vit_fourier", "conv_fourier"]},
    "9": {"only": ["variance"], "claims": ["vit_variance", "conv_variance", "variance_peaks"]},
    "10a": {"only": ["similarity"], "claims": ["cka_blocks"]},
    "10b": {"only": ["lesion"], "lesion": {"sample_size": 16}, "claims": ["early_removals", "attention_late"]},
    "2b": {
        "only": ["frequency_noise"],
        "frequency_noise": {"sample_size": 16, "space": "pixel", "frequencies": [0.2, 0.8]},
        "claims": ["noise"],
    },
}
NETWORKS = ("resnet_pico", "vit_pico", "swin_pico")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(NETWORKS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The zoo's studies at a size that takes seconds, and a hub that doesn't answer."""
    folder = tmp_path / "studies" / "zoo"
    folder.mkdir(parents=True)
    for name, study in STUDIES.items():
        (folder / f"{name}.yaml").write_text(document_text({**SETTINGS, "figures": [name], **study}))
    monkeypatch.setattr(catalogue, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(at_hand, "hub_answers", lambda: False)
    monkeypatch.setattr(at_hand, "try_to_load_from_cache", lambda name, file: None)


def listing(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "models.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def asked(tmp_path: Path, models: str, *more: str) -> list[str]:
    return ["--scale", "zoo", "--models", models, "--out", str(tmp_path / "run"), *more]


@pytest.mark.usefixtures("drawn")
def test_networks_are_measured_judged_and_drawn(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = listing(
        tmp_path, *(f"{name}={name}@{weights}/{name}.safetensors" for name in NETWORKS), "resnet18.a1_in1k"
    )
    assert main(["replicate", "all", *asked(tmp_path, models)]) == 1  # one could not be had
    said, told = capsys.readouterr()
    line = "failed: resnet18.a1_in1k: its pretrained weights are not here, and the hub does not answer"
    assert line in told
    assert "raise high frequencies: not assessable, 1 network, 1 family." in said
    run = tmp_path / "run"
    assert said.splitlines()[-1] == str(run / "experiment.html")
    page = (run / "experiment.html").read_text()
    assert page.index('id="verdicts"') < page.index('id="figure-figure_2a"') < page.index('id="networks"')
    assert "Fig. 9, D.1: the variance of feature maps (3 networks, pretrained)" in page
    assert "its pretrained weights are not here" in page
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {f"figure_{name}.png" for name in ("2a", "9", "10a")} <= figures
    tables = {path.stem: pd.read_parquet(path) for path in (run / "tables").glob("*.parquet")}
    assert set(tables["networks"]["network"]) == set(NETWORKS)
    assert dict(zip(tables["networks"]["network"], tables["networks"]["family"], strict=True))["vit_pico"] == (
        "VisionTransformer"
    )
    assert {"network", "family"} <= set(tables["fourier"]) & set(tables["lesion_summary"])
    verdicts = tables["verdicts"].set_index("claim")
    assert verdicts["published"].notna().any()
    assert '<th class="n">Published</th>' in page
    assert verdicts["n"].to_dict() | {"early_removals": 0, "noise": 0, "attention_late": 0} == {
        **{"vit_fourier": 2, "vit_variance": 2, "conv_fourier": 1, "conv_variance": 1, "variance_peaks": 1},
        **{"cka_blocks": 3, "early_removals": 0, "noise": 0, "attention_late": 0},
    }
    assert "is not above chance" in verdicts.loc["noise", "missing"]  # random weights
    assert set(verdicts["verdict"]) == {"not assessable"}
    shutil.rmtree(run / "fourier")  # its rows are in tables/
    monkeypatch.setattr(measuring, "execute", lambda *args, **more: pytest.fail("it is all there"))
    renamed = listing(tmp_path, f"vit=vit_pico@{weights}/vit_pico.safetensors")
    assert main(["replicate", "2a", *asked(tmp_path, renamed)]) == 0
    assert "MLPs raise them: not assessable, 1 network, 1 family." in capsys.readouterr().out
    assert main(["status", str(run)]) == 0
    said = capsys.readouterr().out
    assert "by others" in said
    assert "go on with: visionscope replicate all --scale zoo" in said


def test_a_plan_alone_measures_nothing(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = listing(tmp_path, f"own=vit_pico@{weights}/vit_pico.safetensors", "resnet18.a1_in1k", "resnet_nano")
    assert main(["replicate", "9", "10a", *asked(tmp_path, models, "--dry-run")]) == 0
    said = capsys.readouterr().out
    assert "3 networks, each on 32 of 2,000 images: embedded" in said
    assert "weights that are not here, and can't be fetched now: resnet18.a1_in1k" in said
    assert said.count("0 of 2") == 3
    assert not (tmp_path / "run").exists()


def test_a_network_without_a_classifier_is_left_out_of_what_needs_labels(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = timm.create_model("vit_pico", num_classes=0)
    save_file(bare.state_dict(), tmp_path / "bare.safetensors")
    models = listing(tmp_path, f"bare=vit_pico?num_classes=0@{tmp_path}/bare.safetensors")
    assert main(["replicate", "2a", "10b", *asked(tmp_path, models)]) == 1
    said, told = capsys.readouterr()
    assert "failed: bare, lesion: has no classifier (num_classes=0)" in told
    assert "MLPs raise them: not assessable, 1 network, 1 family." in said
    verdicts = pd.read_parquet(tmp_path / "run" / "tables" / "verdicts.parquet").set_index("claim")
    assert verdicts.loc["early_removals", "missing"] == "bare: has no classifier (num_classes=0)"
    assert verdicts.loc["vit_fourier", "missing"] == ""
    assert main(["status", str(tmp_path / "run")]) == 0
    assert "everything is done" in capsys.readouterr().out


def test_a_network_that_fails_costs_itself_alone(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "net.py"
    broken.write_text("def make():\n    raise RuntimeError('no such thing')\n")
    models = listing(tmp_path, f"broken={broken}:make", f"own=vit_pico@{weights}/vit_pico.safetensors")
    assert main(["replicate", "9", *asked(tmp_path, models)]) == 1
    said, told = capsys.readouterr()
    assert "failed: broken: " in told
    assert "no such thing" in told
    assert "not assessable, 1 network, 1 family." in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2a", "--seeds", "3"], "--seeds: nothing is trained at the scale zoo; leave it out"),
        (["2a", "--only-training"], "--only-training: nothing is trained at the scale zoo; leave it out"),
        (["2a", "--models", "gone.txt"], "models: gone.txt can't be read (No such file or directory)"),
        (["1c"], "figure: 1c has no study of the scale zoo; it has 2a, 2b, 9, 10a, 10b"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replicate", "--scale", "zoo", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_list_of_networks_is_for_the_zoo_alone(capsys: pytest.CaptureFixture[str]) -> None:
    (catalogue.STUDIES / "laptop").mkdir()
    (catalogue.STUDIES / "laptop" / "6.yaml").touch()
    assert main(["replicate", "6", "--models", "models.txt"]) == 2
    assert "--models: is for --scale zoo; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("resnet18.a1_in1", "resnet18.a2_in1k"),
            "models.txt, line 1: timm has no weights 'a1_in1' for resnet18. Did you mean 'a1_in1k'",
        ),
        (
            ("one=resnet_nano", "two=resnet_nano"),
            "line 2: two is the network of line 1 with the same weights; name it once",
        ),
    ],
)
def test_lines_that_no_library_can_answer(
    tmp_path: Path, lines: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replicate", "9", *asked(tmp_path, listing(tmp_path, *lines))]) == 2
    assert message in capsys.readouterr().err
