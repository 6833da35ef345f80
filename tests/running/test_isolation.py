"""One failure, in a stored part, a table, a figure or a sentence, costs its own section alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from running.conftest import NETWORKS, run, study_of
from visionscope.cli import main
from visionscope.core.failures import Failures
from visionscope.diagnostics.fourier.measure import FourierObserver
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.similarity.measure import SimilarityObserver
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.variance.measure import VarianceObserver
from visionscope.diagnostics.variance.question import Variance
from visionscope.errors import StoreError
from visionscope.pages import write_report
from visionscope.running.plan import plan
from visionscope.running.reduce import reduce
from visionscope.running.store import Store

NAMES = ("fourier", "variance", "similarity")


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models with three diagnostics; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    models = [f"cnn={NETWORKS}:convolutions", f"vit={NETWORKS}:tokens"]
    planned = plan(study_of(models=models, only=list(NAMES), images=40, similarity={"group": 8}))
    assert run(planned, folder) == []
    return folder


@pytest.fixture
def folder(two_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_models, tmp_path / "run"))


def job_of(folder: Path, diagnostic: str, label: str) -> Path:
    """The job.json of one job."""
    for path in (folder / diagnostic).glob("*/job.json"):
        if json.loads(path.read_text())["model"]["label"] == label:
            return path
    raise AssertionError(label)


def sections(folder: Path) -> dict[str, str]:
    """The text of each section of the page, by its figure's name."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    parts = re.split(r'<section class="figure" id="figure-([\w-]+)">', page.split("<footer>")[0])[1:]
    texts = [" ".join(re.sub(r"<[^>]*>", " ", part.split("</section>")[0]).split()) for part in parts[1::2]]
    return dict(zip(parts[::2], texts, strict=True))


def labels(folder: Path, name: str) -> set[str]:
    return set(pyarrow.csv.read_csv(folder / "tables" / f"{name}.csv").column("model").to_pylist())


def failing(real: Callable[..., Any], when: Callable[..., bool] = lambda *given: True) -> Callable[..., Any]:
    def fail(*given: Any, **named: Any) -> Any:
        if when(*given):
            raise KeyError("made to fail")
        return real(*given, **named)

    return fail


def reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of `visionscope report`."""
    code = main(["report", str(folder)])
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"{folder}/report.html"
    return code, said.err.splitlines()


def test_nothing_failed(folder, capsys):
    assert reported(folder, capsys) == (0, [])
    assert set(sections(folder)) == {*NAMES, "similarity_between"}
    assert "Failed" not in "".join(sections(folder).values())


@pytest.mark.parametrize("diagnostic", [Fourier, Variance, Similarity], ids=NAMES)
def test_a_figure_that_fails_costs_its_section(folder, capsys, monkeypatch, diagnostic):
    monkeypatch.setattr(diagnostic, "figure", failing(diagnostic.figure))
    code, said = reported(folder, capsys)
    name = diagnostic.name
    lines = [f"visionscope: failed: figure of {name} of {label}: KeyError: 'made to fail'" for label in ("cnn", "vit")]
    assert (code, said) == (1, lines)
    told = sections(folder)
    assert set(told) == {*NAMES, "similarity_between"}
    assert told[name].count("Failed: figure of") == 2
    assert "&#39;made to fail&#39;" in told[name]
    assert not [other for other, text in told.items() if other != name and "Failed" in text]
    assert labels(folder, name) == {"cnn", "vit"}  # the numbers are not lost with the figure
    assert "In cnn" in (folder / "report.html").read_text()
    assert (
        f"failed figure of {name} of vit: KeyError: 'made to fail' (test_isolation.py:"
        in (folder / "log.txt").read_text()
    )


def test_a_figure_that_fails_for_one_model_is_drawn_for_the_others(folder, capsys, monkeypatch):
    def of_vit(diagnostic: Any, table: pa.Table) -> bool:
        return "vit" in table.column("model").to_pylist()

    monkeypatch.setattr(Variance, "figure", failing(Variance.figure, of_vit))
    code, said = reported(folder, capsys)
    assert (code, said) == (1, ["visionscope: failed: figure of variance of vit: KeyError: 'made to fail'"])
    page = (folder / "report.html").read_text()
    assert 'aria-label="Feature-map variance: cnn"' in page
    assert 'aria-label="Feature-map variance: vit"' not in page


@pytest.mark.parametrize(
    ("observer", "name"), [(FourierObserver, "fourier"), (VarianceObserver, "variance"), (SimilarityObserver, NAMES[2])]
)
def test_a_reduction_that_fails_costs_that_job(folder, capsys, monkeypatch, observer, name):
    def of_vit(given: Any, *others: Any) -> bool:
        return any("+msa" in point.name for point in given._points)

    monkeypatch.setattr(observer, "rows", failing(observer.rows, of_vit))
    code, said = reported(folder, capsys)
    assert (code, said) == (1, [f"visionscope: failed: table of {name} of vit: KeyError: 'made to fail'"])
    assert labels(folder, name) == {"cnn"}
    others = set(NAMES) - {name}
    assert all(labels(folder, other) == {"cnn", "vit"} for other in others)
    assert f"Failed: table of {name} of vit" in sections(folder)[name]
    assert "Failed" not in "".join(sections(folder)[other] for other in others)


def test_a_reduction_that_fails_for_all_leaves_a_section_that_says_so(folder, capsys, monkeypatch):
    monkeypatch.setattr(VarianceObserver, "load", failing(VarianceObserver.load))
    code, said = reported(folder, capsys)
    assert code == 1
    assert len(said) == 2
    assert sections(folder)["variance"].startswith("variance Failed: table of variance of cnn: KeyError:")
    assert "Failed" not in sections(folder)["fourier"]


def test_points_of_one_name_cost_their_own_job(folder, capsys):
    """Run folders from before calls were numbered hold such: several calls of one block under one name."""
    path = job_of(folder, "similarity", "cnn")
    record = json.loads(path.read_text())
    name = record["points"][2]["name"] = record["points"][1]["name"]
    path.write_text(json.dumps(record))
    code, said = reported(folder, capsys)
    assert code == 1
    assert said[0].startswith("visionscope: failed: job.json of similarity of cnn: similarity/")
    assert f"points: two are called {name!r}; run the study again to write it anew" in said[0]
    assert labels(folder, "similarity") == {"vit"}
    assert labels(folder, "fourier") == {"cnn", "vit"}


def test_points_of_a_run_before_they_followed_each_other_are_read(folder, capsys):
    for path in (folder / "similarity").glob("*/job.json"):
        record = json.loads(path.read_text())
        for point in record["points"]:
            del point["follows"]
        path.write_text(json.dumps(record))
    assert reported(folder, capsys) == (0, [])


@pytest.mark.parametrize("damage", [lambda content: content[:50], lambda content: b"", lambda content: b"PAR1" * 9])
def test_a_damaged_part_is_told_and_costs_its_images(folder, capsys, damage):
    part = next(job_of(folder, "variance", "cnn").parent.glob("*.parquet"))
    part.write_bytes(damage(part.read_bytes()))
    code, said = reported(folder, capsys)
    assert code == 1
    (line,) = said
    assert line.startswith("visionscope: failed: part 0000-0040 of variance of cnn: its file can't be used (")
    assert line.endswith("); run the study again to compute it anew")
    assert labels(folder, "variance") == {"vit"}
    assert "Failed: part 0000-0040 of variance of cnn: its file can&#39;t be used (" in sections(folder)["variance"]


def test_a_part_of_other_lengths_costs_its_job(folder, capsys):
    """A file that is whole and lies: sums of another number of frequencies."""
    store = Store(folder)
    path = job_of(folder, "fourier", "vit")
    record = json.loads(path.read_text())
    (rows,) = store.stored_parts(record).values()
    short = [type(row)(*list(vars(row).values())[:4], row.sums[:1], *list(vars(row).values())[5:]) for row in rows]
    store.write_part(record, "0000-0040", type(rows[0]), short)
    code, said = reported(folder, capsys)
    assert code == 1
    assert said[0].startswith("visionscope: failed: table of fourier of vit: ")
    assert labels(folder, "fourier") == {"cnn"}


@pytest.mark.parametrize("content", ['{"job": ', "{}", "[]", '{"job": "0", "diagnostic": "variance", "parts": []}'])
def test_a_damaged_job_file_costs_its_job(folder, capsys, content):
    path = job_of(folder, "variance", "vit")
    path.write_text(content)
    code, (said,) = reported(folder, capsys)
    assert code == 1
    assert "failed: job.json of variance: " in said
    assert "; run the study again to write it anew" in said
    assert labels(folder, "variance") == {"cnn"}


def test_a_job_file_that_lacks_something_names_it(folder, capsys):
    path = job_of(folder, "variance", "vit")
    record = json.loads(path.read_text())
    del record["data"]["image_digest"]
    path.write_text(json.dumps(record))
    code, said = reported(folder, capsys)
    lacks = f"variance/{record['job'][:12]}: it lacks data.image_digest; run the study again to write it anew"
    assert (code, said) == (1, [f"visionscope: failed: job.json of variance of vit: {lacks}"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 1}, r"was made by version 1 of the diagnostic, this is version \d"),
        ({"diagnostic": "elsewhere"}, "diagnostic: must be the name of its folder, 'variance'; got 'elsewhere'"),
        (
            {"fields": {"depth": 3}},
            "its parameters are not those of this version .*unexpected keyword argument 'depth'",
        ),
        ({"format": 99}, r"format 99, and this version reads formats up to 1 \(visionscope .* wrote it\); update"),
    ],
)
def test_a_job_of_another_program_costs_itself(folder, capsys, changed, said):
    path = job_of(folder, "variance", "vit")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    code, (line,) = reported(folder, capsys)
    assert code == 1
    assert re.search(said, line)
    assert labels(folder, "variance") == {"cnn"}
    assert labels(folder, "fourier") == {"cnn", "vit"}


def test_a_run_with_nothing_that_can_be_read_is_refused(folder):
    for path in folder.glob("*/*/job.json"):
        path.write_text("{")
    with pytest.raises(StoreError, match=r"job.json of fourier: .*can't be read \(not valid JSON.*; run the study"):
        write_report(folder)


SIMILARITY = "visionscope.diagnostics.similarity"


@pytest.mark.parametrize(
    ("step", "where", "told"),
    [
        ("visionscope.report.results.section", "variance", "figure of variance: KeyError"),
        ("visionscope.report.results.shown_table", "variance", "table of variance: KeyError"),
        ("visionscope.report.page.limits_of", "", "limits: KeyError"),
        ("visionscope.report.page.main_findings", "", "main findings: KeyError"),
        (f"{SIMILARITY}.measure.between", "similarity", "table of similarity of cnn and vit: KeyError"),
        (f"{SIMILARITY}.figure.between_figure", "similarity", "figure of similarity: Key"),
        (f"{SIMILARITY}.results.comparisons", "similarity", "comparisons of similarity of cnn: KeyError"),
        (f"{SIMILARITY}.findings.limits", "similarity", "limits of similarity: KeyError"),
        (f"{SIMILARITY}.findings._plain", "similarity", "sentences of similarity of cnn: KeyError"),
        ("visionscope.diagnostics.changes.findings.headline", "fourier", "sentences of fourier of cnn: KeyError"),
    ],
)
def test_every_step_of_the_page_fails_alone(folder, capsys, monkeypatch, step, where, told):
    module, _, name = step.rpartition(".")
    real = getattr(__import__(module, fromlist=[name]), name)
    monkeypatch.setattr(step, failing(real))
    code, said = reported(folder, capsys)
    assert code == 1
    assert any(line.startswith(f"visionscope: failed: {told}") for line in said)
    page = (folder / "report.html").read_text()
    assert told.split(":")[0] in page
    assert set(NAMES) <= set(sections(folder))
    if where:
        assert f"Failed: {told.split(':')[0]}" in sections(folder)[where]


@pytest.mark.usefixtures("drawn")
def test_figures_for_papers_fail_alone(two_models, tmp_path, monkeypatch):
    from visionscope.report.files import write_figures
    from visionscope.report.matplotlib import to_matplotlib

    monkeypatch.setattr(
        "visionscope.report.files.to_matplotlib", failing(to_matplotlib, lambda figure: figure.name == "fourier")
    )
    answers = reduce(Store(two_models)).answers
    failures = Failures()
    write_figures(tmp_path, [one for one in answers if one.diagnostic in ("fourier", "variance")], failures)
    assert [failure.text for failure in failures.all] == ["figure's files of fourier: KeyError: 'made to fail'"]
    assert (tmp_path / "variance.png").exists()


def test_a_disk_that_refuses_is_no_section(folder, monkeypatch):
    def refuse(path: Path, content: bytes) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("visionscope.report.files.write_whole", refuse)
    with pytest.raises(StoreError, match="the disk is full"):
        write_report(folder)


def test_diagnose_ends_with_1_where_a_section_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Variance, "figure", failing(Variance.figure))
    small = ["--data", "embedded", "--images", "8", "--only", "fourier,variance", "--out", str(tmp_path)]
    assert main(["diagnose", f"cnn={NETWORKS}:convolutions", *small]) == 1
    said = capsys.readouterr()
    assert "visionscope: failed: figure of variance of cnn: KeyError: 'made to fail'" in said.err
    assert said.out.splitlines()[-1] == f"{tmp_path}/report.html"
    assert "fourier" in sections(tmp_path)


def test_a_block_called_three_times_goes_all_the_way(tmp_path, capsys):
    """Names such as `block+conv#2` in the store, the reduction, the figures, the CSV files and the page."""
    small = ["--data", "embedded", "--images", "40", "--similarity.group", "8", "--out", str(tmp_path)]
    models = [f"again={NETWORKS}:repeated", f"cnn={NETWORKS}:convolutions"]
    assert main(["diagnose", *models, *small, "--only", "fourier,variance,similarity,lesion"]) == 0
    assert capsys.readouterr().err == ""
    variance = pyarrow.csv.read_csv(tmp_path / "tables" / "variance.csv").to_pylist()
    again = [row for row in variance if row["model"] == "again"]
    assert len({row["point"] for row in again}) == len(again) == 4
    assert sum("#" in row["point"] for row in again) == 2
    assert all(row["variance"] is not None for row in again)
    assert [row["change"] is None for row in again] == [True, False, False, False]
    similarity = pyarrow.csv.read_csv(tmp_path / "tables" / "similarity.csv").to_pylist()
    assert all(row["cka"] is not None for row in similarity if row["model"] == "again")
    between = pyarrow.csv.read_csv(tmp_path / "tables" / "similarity_between.csv").to_pylist()
    assert len({(row["point_x"], row["point_y"]) for row in between}) == 4 * 3
