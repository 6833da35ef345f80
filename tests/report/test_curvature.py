import dataclasses
import re
from pathlib import Path

import pytest

from report import curvature
from report.telling import answers_of
from report.unpacking import headers
from visionscope.core.diagnostic import Answer
from visionscope.report.page import build_report
from visionscope.report.tables import Shown, shown_table

VIT, RESNET = curvature.vit_and_resnet()


def answers(*models: curvature.Curved) -> dict[str, Answer]:
    return {one.diagnostic: one for one in answers_of(curvature.tables(models, points=5))}


def shown(answer: Answer) -> Shown:
    table = shown_table(answer.tables)
    assert table is not None
    return table


def numbers(text: str) -> list[float]:
    return [float(part.replace("\u2212", "-")) for part in re.findall(r"\u2212?\d+(?:\.\d+)?", text)]


def test_the_summary_table_is_readable() -> None:
    found = answers(VIT, RESNET)
    hessian = shown(found["hessian"])
    headers = [header for header, _, _ in hessian.columns]
    assert "NEP (share of negative), 95 % interval" in headers
    assert "APE (mean of positive), 95 % interval (nat per squared weight)" in headers
    # Nothing but whole models: no word on scopes; counts come last.
    assert not {"job", "negative_share_low", "note", "scope", "level"} & set(headers)
    assert headers[-1] == "products per mini-batch"
    (row, _) = found["hessian"].tables["summary"].to_pylist()
    cell = hessian.rows[0][1][headers.index("NEP (share of negative), 95 % interval")]
    assert numbers(cell) == pytest.approx([row[f"negative_share{end}"] for end in ("", "_low", "_high")], rel=1e-2)
    (said,) = hessian.settings
    for part in ("augmentation: strong", "BatchNorm: eval", "weight decay 0.0005", "label smoothing 0.1", "fp32"):
        assert part in said
    assert "value ± deviation, range" in [header for header, _, _ in shown(found["landscape"]).columns]
    assert shown_table({"rows": found["hessian"].tables["rows"]}) is None


def test_settings_that_differ_name_their_models() -> None:
    first, second = shown(answers(VIT, dataclasses.replace(RESNET, augmentation="none"))["landscape"]).settings
    assert first.startswith("vit_nano: measured on embedded:test; fp32; ")
    assert second.startswith("resnet_nano: measured on embedded:test; fp32; ")
    assert "augmentation: strong" in first
    assert "augmentation: none" in second


def test_the_page_shows_tables_and_settings(tmp_path: Path) -> None:
    found = answers(VIT, RESNET)
    figure = found["hessian"].figures[0]
    again = dataclasses.replace(figure, name="hessian-2", title="Again")
    found["hessian"] = dataclasses.replace(found["hessian"], figures=(figure, again))
    jobs = curvature.jobs((VIT, RESNET))
    page = build_report(tmp_path, list(reversed(found.values())), jobs).read_text(encoding="utf-8")
    order = re.findall(r'id="figure-([\w-]+)"', page)
    assert order == ["hessian", "hessian-2", "density", "landscape"]
    assert "<h1>How the loss curves</h1>" in page
    assert 'data-view-button="3-D"' in page
    assert "NEP (share of negative), 95 % interval" in headers(page, "hessian")
    assert "3 of 160 eigenvalues did not converge" in page
    assert "Measured on embedded:test; fp32; " in page
