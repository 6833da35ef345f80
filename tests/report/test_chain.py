import re
from pathlib import Path

import pytest

from report import samples
from report.telling import answers_of
from report.unpacking import page_data
from visionscope.report.chain import MOST_SHOWN, chains, repeated
from visionscope.report.page import build_report


@pytest.mark.parametrize(
    ("kinds", "blocks"),
    [
        ("", ""),
        ("stem", "stem x1"),
        ("msa mlp msa mlp msa mlp", "msa+mlp x3"),
        ("conv conv conv", "conv x3"),
        ("down conv conv", "down x1, conv x2"),
        ("conv conv msa conv conv msa", "conv+conv+msa x2"),
        ("conv conv conv msa", "conv x3, msa x1"),
        ("msa mlp msa", "msa x1, mlp x1, msa x1"),
        ("conv msa mlp msa mlp", "conv x1, msa+mlp x2"),
    ],
)
def test_repeated_blocks_are_told_once(kinds: str, blocks: str) -> None:
    found = repeated(kinds.split())
    assert ", ".join(f"{'+'.join(block)} x{times}" for block, times in found) == blocks
    assert [kind for block, times in found for kind in block * times] == kinds.split()


def test_a_chain_names_stages_blocks_and_points() -> None:
    models = [samples.vit(blocks=6), samples.resnet(blocks=(2, 3))]
    plain, staged = chains(samples.jobs(models), ["vit_nano", "resnet_nano"])
    assert plain["words"] == "stem → stage 1: block × 6: self-attention, MLP"
    assert staged["words"] == "stem → stage 1: convolution × 2 → stage 2: downsampling, convolution × 2"
    assert (plain["count"], plain["model"], staged["count"], staged["model"]) == (13, 0, 6, 1)
    names = [point["name"] for stage in staged["stages"] for group in stage["groups"] for point in group["points"]]
    assert names == [spot.name for spot in models[1].spots()]
    branches = [point["branch"] for stage in plain["stages"] for group in stage["groups"] for point in group["points"]]
    assert branches[:2] == ["stem.stem", "layers.1.1.msa"]


def test_long_chains_are_folded_and_empty_ones_left_out() -> None:
    long = samples.vit("long", blocks=15)  # 31 points
    short = samples.vit("short", blocks=14)
    nothing = [{**job, "points": []} for job in samples.jobs([samples.vit("nothing")])]
    found = chains([*samples.jobs([long, short]), *nothing], ["long", "short", "nothing"])
    assert [(one["label"], one["count"], one["folded"]) for one in found] == [("long", 31, True), ("short", 29, False)]
    assert MOST_SHOWN == 30


def test_panels_name_the_points_of_their_curves(tmp_path: Path) -> None:
    model = samples.vit(blocks=2)
    page = build_report(tmp_path, answers_of(samples.tables([model])), samples.jobs([model])).read_text("utf-8")
    spectra, depth, variance, _ = page_data(page)["panels"]
    names = [spot.name for spot in model.spots()]
    assert [own for own in spectra["points"] if own] == [[name] for name in names]
    for panel in (depth, variance):
        assert [[name for name in own if name] for own in panel["points"] if own] == [names]
        assert len(panel["points"]) == len(panel["data"])
    assert re.findall(r'data-point="([^"]+)"', page) == names
