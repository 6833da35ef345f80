import html
import json
import re
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from markupsafe import escape

from reference.drawing import drawn
from report import outcomes, samples
from report.telling import answers_of
from report.unpacking import page_data
from visionscope.errors import StoreError
from visionscope.report.page import build_report


def build(run: Path, models: list[samples.Invented], **extra: object) -> str:
    path = build_report(run, answers_of(samples.tables(models)), samples.jobs(models, **extra))
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def visible(page: str) -> str:
    """The text that a reader sees, without scripts, styles and tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page.split("<body>")[1], flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with drawn():
        build(folder, [samples.vit(blocks=4), samples.resnet(weights="random, seed 0")])
    return folder


def test_each_sentence_has_exactly_its_rows_under_it(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    rows = page_data(page)["rows"]
    told = {one["anchor"]: one for one in json.loads((run / "report.json").read_text())["findings"]}
    folds = re.findall(r'<details class="rows" id="([\w-]+)"><summary>(\d+) rows?</summary>', page)
    assert len(folds) == len(rows) == 6
    assert {anchor for anchor, _ in folds} == set(rows) == set(told)
    for anchor, count in folds:
        columns, cells = rows[anchor]["columns"], rows[anchor]["cells"]
        assert [len(column) for column in cells] == [int(count)] * len(columns)
        assert columns == told[anchor]["columns"]
        before = page[: page.index(f'<details class="rows" id="{anchor}"')].replace("\N{NO-BREAK SPACE}", " ")
        said = [told[anchor][key] for key in ("headline", "brief")]
        last = max(before.rfind(escape(text)) for text in said)
        assert last > before.rfind('<details class="rows"')
    assert set(re.findall(r'<a href="#(rows-[\w-]+)">', page)) <= set(rows)


def test_no_sentence_is_told_more_than_twice(tmp_path: Path) -> None:
    answers, jobs = outcomes.everything()
    page = build_report(tmp_path, answers, jobs).read_text(encoding="utf-8")
    text = visible(page)
    found = [one for answer in answers for one in answer.findings]
    assert len(found) > 20
    # Once in its section, and once at the top if it is a main one.
    assert page.count("<li data-verdict") + page.count('<p class="sum">') == len(found)
    for one in found:
        assert text.count(escape(one.headline)) <= 2
        briefs = [other.brief for other in found].count(one.brief)
        assert not one.brief or text.count(escape(one.brief)) <= briefs


def test_a_section_is_its_figure_a_line_and_a_fold(tmp_path: Path) -> None:
    page = build(tmp_path, [samples.vit(blocks=2), samples.resnet()])
    for section in re.findall(r'<section class="figure".*?</section>', page, re.DOTALL):
        order = [section.index(part) for part in ('<details class="fold" open>', 'class="plot"', 'class="more"')]
        assert order == sorted(order)
        folded = section[section.index('<details class="more">') :]
        assert 'class="plot"' not in folded
        assert 'class="caption"' in folded
    assert page.count('<p class="sum">') == 3


def test_first_line_says_random_weights(run: Path) -> None:
    text = visible((run / "report.html").read_text(encoding="utf-8"))
    assert text.startswith("Random weights: shows the architecture's bias, not what training made (resnet_nano).")


def test_trained_models_get_no_warning(tmp_path: Path) -> None:
    assert "Random weights" not in visible(build(tmp_path, [samples.vit(blocks=2)]))


def test_nothing_is_loaded_from_elsewhere(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=[\"'](?!#)", own)
    assert "url(" not in own
    assert "default-src 'none'" in page


def test_beside_the_page(run: Path) -> None:
    figures = {path.name for path in (run / "figures").iterdir()}
    for name in ("fourier", "fourier_side_by_side", "variance", "similarity"):
        assert (run / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (run / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len(figures) >= 8
    for name in ("fourier", "variance", "similarity"):
        parquet = pyarrow.parquet.read_table(run / "tables" / f"{name}.parquet")
        assert parquet.num_rows == pyarrow.csv.read_csv(run / "tables" / f"{name}.csv").num_rows > 0
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["devices"] == ["cpu"]
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


def test_environment_holds_no_paths_and_no_host(run: Path) -> None:
    text = (run / "environment.json").read_text()
    assert "/" not in text
    assert socket.gethostname() not in text


@pytest.mark.usefixtures("drawn")
def test_the_same_tables_make_the_same_page(tmp_path: Path) -> None:
    model = [samples.vit(blocks=1)]
    assert build(tmp_path / "a", model) == build(tmp_path / "b", model)
    first, second = ((tmp_path / part / "figures" / "fourier.pdf").read_bytes() for part in "ab")
    assert first == second


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    page = build(tmp_path, [samples.vit(evil, blocks=1)], errors=[{"part": "0000-0256", "message": f"bad {evil}"}])
    assert evil not in page
    assert "<img" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "bad &lt;/script&gt;" in page


def test_failed_parts_are_listed(tmp_path: Path) -> None:
    page = visible(
        build(tmp_path, [samples.vit(blocks=1)], errors=[{"part": "0256-0512", "message": "cat.jpg is broken"}])
    )
    assert "3 parts failed" in page
    assert "variance, part 0256-0512: cat.jpg is broken" in page


def test_missing_diagnostics_and_no_values(tmp_path: Path) -> None:
    model = samples.vit(blocks=1)
    table = samples.tables([model])["variance"]
    nothing = {"variance": None, "standard_error": None, "change": None, "change_error": None, "note": "one position"}
    empty = pa.Table.from_pylist([{**row, **nothing} for row in table.to_pylist()], table.schema)
    page = build_report(tmp_path, answers_of({"variance": empty}), samples.jobs([model])).read_text(encoding="utf-8")
    assert "variance: 3 points have no number (one position)." in visible(page)
    (panel,) = page_data(page)["panels"]
    assert [trace["x"] for trace in panel["data"]] == [[]]
    bare = build_report(tmp_path / "bare", [], []).read_text(encoding="utf-8")
    assert "no finished job" in visible(bare)


def test_many_models_become_small_multiples_and_six_are_shown(tmp_path: Path) -> None:
    page = build(tmp_path, [samples.vit(f"vit_{index}", blocks=1) for index in range(8)])
    data = page_data(page)
    shown = re.search(r'<script type="application/json" id="shown">(.*?)</script>', page)
    assert shown is not None
    assert json.loads(shown.group(1)) == [True] * 6 + [False] * 2
    assert 'data-all="true"' in page
    assert all(len({trace["meta"] for trace in panel["data"]}) == 1 for panel in data["panels"])


def test_inputs_that_differ_name_their_models(tmp_path: Path) -> None:
    models = [samples.vit(blocks=1), samples.resnet()]
    jobs = samples.jobs(models)
    for job in jobs:
        if job["model"]["label"] == "vit_nano":
            job["data"]["input"] = {"size": [160, 192]}
    text = visible(build_report(tmp_path, [], jobs).read_text(encoding="utf-8"))
    assert (
        "160 × 192 fp32 vit_nano fourier, variance, similarity embedded:test 256 0 224 × 224 fp32 resnet_nano" in text
    )


def test_between_models_gets_its_figure(tmp_path: Path) -> None:
    models = [samples.vit(blocks=1), samples.resnet()]
    similarity = samples.tables(models)["similarity"]
    tables = {"similarity": similarity, "similarity_between": samples.between_table(*models)}
    page = build_report(tmp_path, answers_of(tables), samples.jobs(models)).read_text(encoding="utf-8")
    *_, panel = page_data(page)["panels"]
    assert len(panel["data"][0]["z"]) == 17
    assert page.count('data-models="0 1"') == 1
    assert 'id="figure-similarity_between"' in page


def test_two_hundred_points(tmp_path: Path) -> None:
    model = samples.vit(blocks=100)
    tables = {name: table for name, table in samples.tables([model]).items() if name != "fourier"}
    page = build_report(tmp_path, answers_of(tables), samples.jobs([model]))
    assert len(page_data(page.read_text())["rows"]["rows-similarity-1"]["cells"][0]) == 201 * 200 // 2
    assert page.stat().st_size < 10_000_000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StoreError, match=r"the report can't write .*run/environment.json: "):
        build_report(tmp_path / "run", [], [])


def test_a_failing_writer_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = build(tmp_path, [samples.vit(blocks=1)])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        build(tmp_path, [samples.vit(blocks=2)])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_the_commands_stand_at_the_end_as_they_were_typed(tmp_path: Path) -> None:
    models = [samples.vit(blocks=1)]
    given = ("visionscope diagnose 'a b' --size 32 32 --images 5 --out 'x & y <z>'", "visionscope run other.yaml")
    path = build_report(tmp_path, answers_of(samples.tables(models)), samples.jobs(models), commands=given)
    page = path.read_text(encoding="utf-8")
    shown = re.findall(r"<pre><code>(.*?)</code></pre><button type=\"button\" class=\"plain\" data-copy>", page)
    assert [html.unescape(one) for one in shown] == list(given)
    assert page.index('id="command"') > page.rindex('<section class="figure"')
    assert "The commands that made this page" in visible(page)
    bare = build_report(tmp_path / "bare", [], [])
    assert 'id="command"' not in bare.read_text(encoding="utf-8")
