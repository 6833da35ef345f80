from pathlib import Path

import pytest

from report import outcomes
from report.unpacking import page_data
from visionscope.report.page import build_report
from visionscope.report.spacing import unbroken


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("95 % interval", "95_% interval"),
        ("−7.16 percentage points (p = 0.0030)", "−7.16_percentage_points (p_=_0.0030)"),
        ("39032 ± 68 nat per squared weight", "39032_±_68_nat per squared weight"),
        ("0.8 π rad/pixel, 32 × 32", "0.8_π_rad/pixel, 32_×_32"),
        ("all 12 points, 256 images", "all 12_points, 256_images"),
        ("in 4 minutes, 3 nations and 2 standard deviations", "in 4 minutes, 3 nations and 2 standard deviations"),
        ("vit 3 to 5", "vit 3 to 5"),
    ],
)
def test_numbers_keep_their_units(text: str, kept: str) -> None:
    assert unbroken(text).replace("\N{NO-BREAK SPACE}", "_") == kept


def test_everything_on_a_page_is_kept_together(tmp_path: Path) -> None:
    page = build_report(tmp_path, *outcomes.everything()).read_text(encoding="utf-8")
    body = page.split("<body>")[1].split("<script")[0]
    assert "95\N{NO-BREAK SPACE}% interval" in body
    assert "95 %" not in body
    assert "percentage points" not in body
    shown = str(page_data(page)["tables"]) + str([panel["layout"] for panel in page_data(page)["panels"]])
    assert "\\xa0%" in shown
    assert "95 %" not in shown
