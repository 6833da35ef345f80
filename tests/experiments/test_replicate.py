"""`visionscope replicate`, and the study of the documentation, carried out with networks that cost nothing."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from experiments.conftest import SMALL, Inline
from visionscope.cli import main
from visionscope.core.documents import document_text
from visionscope.experiments import catalogue
from visionscope.experiments.work import TrainWork

DOCS = Path(__file__).parents[2] / "docs"
TINY_VIT = "vit_nano?depth=1&embed_dim=24"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two figures' studies that share a network, as a laptop scale that takes seconds."""
    folder = tmp_path / "studies" / "laptop"
    folder.mkdir(parents=True)
    common = {"data": "torch/cifar10"}
    train = {"seeds": 2, "epochs": 1, "batch_size": 32, "warm_up": 0.5}
    hessian = {"warmup": {"only": "hessian", "hessian": {"mini_batches": 1, "k": 2}}, "last": []}
    gap = {**train, "variants": {"vit": TINY_VIT, "vit_gap": f"{TINY_VIT}&global_pool=avg&class_token=false"}}
    six = {**common, "train": gap, "diagnose": hessian, "figures": [6], "claims": ["gap_negative"]}
    maps = {**train, "variants": {"resnet": {"model": SMALL, "epochs": 2}, "vit": TINY_VIT}}
    similar = {**common, "train": maps, "diagnose": {"last": {"only": "similarity", "images": 32}}, "figures": ["10a"]}
    for name, study in (("6", six), ("10a", similar)):
        (folder / f"{name}.yaml").write_text(document_text(study))
    monkeypatch.setattr(catalogue, "STUDIES", tmp_path / "studies")
    return tmp_path / "run"


def trained(executor: Inline) -> list[str]:
    return [work.training for work in executor.submitted if isinstance(work, TrainWork)]


@pytest.mark.usefixtures("drawn")
def test_figures_are_trained_once_judged_and_drawn(
    toy: Path, executor: Inline, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replicate", "6", "D.3", "--data", data, "--out", str(toy)]) == 0
    said = capsys.readouterr().out
    assert "fewer negative eigenvalues than one with class token: not assessable, 2 seeds." in said
    assert str(toy / "experiment.html") in said
    assert len(trained(executor)) == len(set(trained(executor))) == 6  # vit is in both studies
    page = (toy / "experiment.html").read_text()
    assert '<span class="verdict" data-verdict="not assessable">' in page
    six, similar = (re.search(rf"{name}: .*?epochs: ([^,]*), par", page) for name in ("Fig. 6", "Fig. 10a, D.3"))
    assert six is not None
    assert similar is not None
    assert (six[1], similar[1]) == ("1", "1 to 2")  # of the networks that a figure draws
    assert "visionscope replicate all --scale laptop --out" in page
    assert page.index('id="verdicts"') < page.index('id="figure-figure_6"') < page.index('id="figure-training"')
    assert {"figure_6.pdf", "figure_10a.png", "training.pdf"} <= {path.name for path in (toy / "figures").iterdir()}
    verdicts = pd.read_parquet(toy / "tables" / "verdicts.parquet")
    assert verdicts["claim"].tolist() == ["gap_negative"]
    assert verdicts["n"].tolist() == [2]
    before = len(executor.submitted)
    assert main(["replicate", "10a", "--data", data, "--out", str(toy)]) == 0
    assert len(executor.submitted) == before  # everything is there


def test_a_plan_alone_trains_nothing(
    toy: Path, executor: Inline, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replicate", "all", "--data", data, "--out", str(toy), "--dry-run"]) == 0
    assert "6 trainings and 8 diagnoses are left" in capsys.readouterr().out
    assert executor.submitted == []
    assert not toy.exists()


def test_the_list_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replicate", "list"]) == 0
    said = capsys.readouterr().out
    for figure in catalogue.PAPER_FIGURES:
        assert ", ".join(figure.ids) in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["5c"], "figure: there is no study of a figure '5c'. Did you mean"),
        (["6", "--scale", "imagenet"], "figure: 6 has no study of the scale imagenet; it has 2a, 2b, 5a, 12b"),
        (
            ["6", "--scale", "laptops"],
            "scale: must be one of laptop, cifar, imagenet, zoo; got 'laptops'. Did you mean",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replicate", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("drawn")
def test_the_study_of_the_documentation_is_judged(
    executor: Inline, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = re.search(r"```yaml\n(.*?)```", (DOCS / "claim_of_your_own.md").read_text(), re.DOTALL)
    assert text is not None
    study: dict[str, Any] = yaml.safe_load(text[1])
    study |= {"data": data, "out": str(tmp_path / "run")}
    study["train"] |= {"epochs": 1, "batch_size": 32, "warm_up": 0.2, "fraction": 1}
    study["diagnose"]["warmup"]["hessian"] = {"mini_batches": 1, "k": 2}
    for name, model in study["train"]["variants"].items():
        study["train"]["variants"][name] = f"{model}{'&' if '?' in model else '?'}depth=1&embed_dim=24"
    path = tmp_path / "gelu.yaml"
    path.write_text(document_text(study))
    assert main(["run", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\* GELU gives fewer negative eigenvalues than ReLU: .*, 5 seeds\)?\.", said)
    page = (tmp_path / "run" / "experiment.html").read_text()
    assert "GELU gives fewer negative eigenvalues than ReLU" in page
    assert "Published</th>" not in page  # nobody published a value of one's own claim
    assert (tmp_path / "run" / "figures" / "claim_gelu_convex.pdf").is_file()
