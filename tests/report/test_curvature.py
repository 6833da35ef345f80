import dataclasses
import math
import re
from pathlib import Path

import pyarrow as pa
import pytest
from scipy import stats

from report import curvature
from report.curvature import Curved
from visionscope.core.finding import Finding
from visionscope.report.curvature import LEAST_MINI_BATCHES, ends_of
from visionscope.report.page import build_report
from visionscope.report.summary import caveats, findings, main_findings
from visionscope.report.tables import shown_table

VIT, RESNET = curvature.vit_and_resnet()
LARGER = "The positive eigenvalues of resnet_nano are larger than those of vit_nano."
MORE = "More of the eigenvalues of vit_nano are negative than of those of resnet_nano."
FLATTER = "vit_nano lies flatter than resnet_nano."


def found_for(*models: Curved, **changed: pa.Table) -> list[Finding]:
    tables = {**curvature.tables(models, points=11), **changed}
    return findings(tables, curvature.jobs(models))


def between(found: list[Finding], diagnostic: str) -> list[Finding]:
    return [one for one in found if not one.model and one.diagnostic == diagnostic]


def numbers(text: str) -> list[float]:
    return [float(part.replace("\u2212", "-")) for part in re.findall(r"[\u2212\d][\d.]*", text)]


def test_nep_and_ape_in_the_sentence_are_those_of_its_rows() -> None:
    one = next(one for one in found_for(VIT) if one.diagnostic == "hessian")
    place = one.columns.index("eigenvalue")
    values = [row[place] for row in one.rows]
    assert len(values) == 80
    share = sum(value < 0 for value in values) / 80
    mean = sum(value for value in values if value > 0) / sum(value > 0 for value in values)
    said = numbers(one.headline)
    assert said == pytest.approx([100 * share, 80, mean], rel=5e-3)
    assert "95 % interval" in one.detail
    assert "did not converge" not in one.text


def test_what_did_not_converge_is_counted_and_marked_in_the_rows() -> None:
    one = next(one for one in found_for(RESNET) if one.diagnostic == "hessian")
    assert "3 of 80 did not converge and are left out, marked in the rows." in one.detail
    assert [row[one.columns.index("converged")] for row in one.rows].count(False) == 3
    assert "of the 77 Hessian eigenvalues" in one.headline


def test_models_are_told_apart_only_where_intervals_are() -> None:
    found = found_for(VIT, RESNET)
    assert [one.headline for one in between(found, "hessian")] == [LARGER, MORE]
    assert [one.headline for one in between(found, "landscape")] == [FLATTER]
    swapped = (dataclasses.replace(VIT, label="resnet_nano"), dataclasses.replace(RESNET, label="vit_nano"))
    other = found_for(*swapped)
    assert "of vit_nano are larger than those of resnet_nano" in between(other, "hessian")[0].headline
    assert "of resnet_nano are negative than of those of vit_nano" in between(other, "hessian")[1].headline
    assert between(other, "landscape")[0].headline == "resnet_nano lies flatter than vit_nano."


def test_alike_models_are_not_told_apart() -> None:
    twin = dataclasses.replace(VIT, label="twin")
    found = [one for diagnostic in ("hessian", "landscape") for one in between(found_for(VIT, twin), diagnostic)]
    assert len(found) == 3
    assert {one.verdict for one in found} == {"can't be said"}
    assert all("can't be told: the" in one.headline for one in found)
    assert {one.strength for one in found} == {0.0}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"augmentation": "none"}, "they differ in augmentation"),
        ({"mini_batches": 4}, f"4 mini-batches are too few (take at least {LEAST_MINI_BATCHES})"),
        ({"unconverged": 12}, "too many eigenvalues of resnet_nano did not converge (12)"),
    ],
)
def test_nothing_is_claimed_of_numbers_that_do_not_compare(changed: dict[str, object], reason: str) -> None:
    for one in between(found_for(VIT, dataclasses.replace(RESNET, **changed)), "hessian"):
        assert one.headline.endswith(f"can't be told: {reason}.")


def test_unequal_label_smoothing_does_not_compare() -> None:
    tables = curvature.tables((VIT, RESNET), points=5)
    for name in ("hessian", "landscape"):
        rows = [{**row, "label_smoothing": 0.1 * (row["model"] == "vit_nano")} for row in tables[name].to_pylist()]
        tables[name] = pa.Table.from_pylist(rows, tables[name].schema)
    found = findings(tables, [])
    for one in [*between(found, "hessian"), *between(found, "landscape")]:
        assert one.headline.endswith("can't be told: they differ in label smoothing.")


def test_extremes_of_many_need_more_to_be_told_apart() -> None:
    row = {"x": 1.0, "x_low": 0.5, "x_high": 2.0, "mini_batches": 16}
    assert ends_of(row, "x") == (0.5, 2.0)
    low, high = ends_of(row, "x", 12) or (0.0, 0.0)
    z = stats.norm.ppf(1 - 0.025 / 66) / math.sqrt(2) / stats.norm.ppf(0.975)
    assert (low, high) == pytest.approx((1 - 0.5 * z, 1 + z))
    assert ends_of({**row, "x_low": None}, "x") is None
    blocks = tuple(("block", f"blocks.{index}") for index in range(12))
    one = next(one for one in found_for(dataclasses.replace(VIT, levels=blocks)) if one.diagnostic == "hessian")
    assert one.headline == "In vit_nano, by block, which block has the largest positive eigenvalues can't be said."
    assert len(one.rows) == 12


def test_a_part_that_stands_out_is_named() -> None:
    models = dataclasses.replace(VIT, levels=(("kind", "msa"), ("kind", "mlp")))
    tables = curvature.tables([models], points=5)
    rows = tables["hessian_summary"].to_pylist()
    for row in rows:
        for name in ("positive_mean", "positive_mean_low", "positive_mean_high"):
            row[name] = row[name] * (10 if row["scope"] == "mlp" else 1)
    tables["hessian_summary"] = pa.Table.from_pylist(rows, tables["hessian_summary"].schema)
    one = next(one for one in findings(tables, []) if one.diagnostic == "hessian")
    assert "by kind, the positive eigenvalues are largest in mlp (" in one.headline
    assert "and smallest in msa (" in one.headline


def test_of_many_models_the_extremes_are_compared() -> None:
    models = [Curved(label=f"net_{index}", size=10.0 * 3**index, steep=1.0 * 3**index) for index in range(5)]
    found = found_for(*models)
    assert len(between(found, "hessian")) == 2
    assert between(found, "hessian")[0].headline == (
        "The positive eigenvalues of net_4 are larger than those of net_0."
    )
    assert [one.headline for one in between(found, "landscape")] == ["net_0 lies flatter than net_4."]


def test_the_trace_has_its_error_and_disagreement_is_said() -> None:
    tables = curvature.tables([VIT], points=5)
    one = next(one for one in findings(tables, []) if one.diagnostic == "density")
    (row,) = [row for row in tables["density_summary"].to_pylist() if row["quantity"] == "trace"]
    said = numbers(one.headline)
    assert said[1:3] == pytest.approx([row["value"], row["standard_error"]], rel=2e-2)
    assert "disagree on the trace" in one.detail
    rows = [
        {**other, "value": row["value"]} if other["quantity"].startswith("trace from") else other
        for other in tables["density_summary"].to_pylist()
    ]
    agreed = {"density_summary": pa.Table.from_pylist(rows, tables["density_summary"].schema)}
    assert "disagree" not in next(iter(findings(agreed, []))).detail


def test_the_landscapes_sentence_tells_radius_sharpness_and_holes() -> None:
    tables = curvature.tables([VIT], points=11)
    one = next(one for one in findings(tables, []) if one.diagnostic == "landscape")
    rows = {row["quantity"]: row for row in tables["landscape_summary"].to_pylist()}
    radius, sharp = rows["radius at a rise of 1 nat"], rows["sharpness: rise at step 0.5"]
    assert numbers(one.headline)[1] == pytest.approx(radius["value"], rel=1e-2)
    assert numbers(one.detail)[1] == pytest.approx(sharp["value"], rel=1e-2)
    infinite = sum(not math.isfinite(row["nll"]) for row in tables["landscape"].to_pylist())
    assert infinite > 0
    assert f"{infinite} of {tables['landscape'].num_rows} losses are not finite" in one.detail
    share = re.search(r"L2 makes (\S+) % of the rise", one.detail)
    assert share is not None
    # By hand: the rises at the finite places of the border; the centre is at NLL 1.5 and L2 0.4.
    grid = [row for row in tables["landscape"].to_pylist() if not row["draw"] and math.isfinite(row["nll"])]
    border = [row for row in grid if max(abs(row["x"]), abs(row["y"])) == 1]
    nll, l2 = (sum(row[key] - centre for row in border) for key, centre in (("nll", 1.5), ("l2", 0.4)))
    assert float(share.group(1)) == pytest.approx(100 * l2 / (nll + l2), rel=0.03)


def test_a_radius_within_the_first_step_is_called_coarse() -> None:
    one = next(one for one in found_for(dataclasses.replace(VIT, steep=200.0)) if one.diagnostic == "landscape")
    assert "That is within the first step along" in one.detail
    assert "within the first step" not in next(o for o in found_for(VIT) if o.diagnostic == "landscape").text


def test_a_wide_spread_over_directions_forbids_a_claim() -> None:
    wide = [dataclasses.replace(model, spread=2.5, steep=2.0 + place) for place, model in enumerate((VIT, RESNET))]
    (one,) = between(found_for(*wide), "landscape")
    assert one.headline == (
        "Whether vit_nano or resnet_nano lies flatter can't be told: the spread over directions is too large."
    )
    assert "95 % interval" in one.detail


def test_a_loss_that_is_infinite_along_a_direction_forbids_a_claim() -> None:
    tables = curvature.tables((VIT, RESNET), points=11)
    rows = tables["landscape_summary"].to_pylist()
    for row in rows:
        if row["model"] == "vit_nano" and row["quantity"].startswith("sharpness"):
            row.update(value=None, deviation=None, note="not finite along 1 of 7")
    tables["landscape_summary"] = pa.Table.from_pylist(rows, tables["landscape_summary"].schema)
    found = findings(tables, [])
    (one,) = between(found, "landscape")
    assert one.headline.endswith("can't be told: around vit_nano the loss is not finite along 1 of 7.")
    assert "unknown: not finite along 1 of 7" in next(o for o in found if o.diagnostic == "landscape" and o.model).text


def test_a_network_without_batch_norm_compares_with_one_that_keeps_its_statistics() -> None:
    tables = curvature.tables((VIT, RESNET), points=11)

    def changed(way: str) -> list[Finding]:
        rows = [
            {**row, "batch_norm": way if row["model"] == "vit_nano" else "kept"}
            for row in tables["landscape"].to_pylist()
        ]
        return between(findings({**tables, "landscape": pa.Table.from_pylist(rows)}, []), "landscape")

    assert changed("none")[0].headline == FLATTER
    assert changed("reestimated")[0].headline.endswith("can't be told: they differ in batch norm.")


def test_planes_that_were_not_drawn_make_no_claim() -> None:
    tables = curvature.tables((VIT, RESNET), points=11)
    rows = [{**row, "plane": "eigenvectors"} for row in tables["landscape"].to_pylist()]
    tables["landscape"] = pa.Table.from_pylist(rows, tables["landscape"].schema)
    (one,) = between(findings(tables, []), "landscape")
    assert one.headline.endswith("directions of the plane of eigenvectors are no random draws.")


def test_clear_differences_come_first_and_each_model_is_heard() -> None:
    main = main_findings(found_for(VIT, RESNET))
    assert main[0].headline == LARGER
    assert {one.model for one in main[1:]} == {"vit_nano", "resnet_nano"}


def test_random_weights_are_named_in_comparisons() -> None:
    found = found_for(VIT, dataclasses.replace(RESNET, weights="random, seed 0"))
    assert all("resnet_nano (random weights)" in one.headline for one in found if not one.model)


def test_caveats_follow_the_diagnostics() -> None:
    tables = curvature.tables([VIT], points=5)
    said = " ".join(caveats(tables, []))
    assert "depend on how a network is parametrized" in said
    assert "mini-batches of 16" in said
    assert "L2 is a plain bowl" in said
    alone = " ".join(caveats({"density": tables["density"]}, []))
    assert "plain bowl" not in alone
    assert "the density knows" in alone.lower()


def test_the_summary_table_is_readable() -> None:
    tables = curvature.tables((VIT, RESNET), points=5)
    shown = shown_table("hessian", tables)
    assert shown is not None
    headers = [header for header, _, _ in shown.columns]
    assert "NEP (share of negative), 95 % interval" in headers
    assert "APE (mean of positive), 95 % interval (nat per squared weight)" in headers
    # Nothing but whole models: no word on scopes; counts come last.
    assert not {"job", "negative_share_low", "note", "scope", "level"} & set(headers)
    assert headers[-1] == "products per mini-batch"
    (row, _) = tables["hessian_summary"].to_pylist()
    cell = shown.rows[0][1][headers.index("NEP (share of negative), 95 % interval")]
    assert numbers(cell) == pytest.approx([row[f"negative_share{end}"] for end in ("", "_low", "_high")], rel=1e-2)
    assert shown.note == ("3 of 160 eigenvalues did not converge: they are marked in the rows and count nowhere.")
    (said,) = shown.settings
    for part in ("strong augmentation", "BatchNorm: eval", "weight decay 0.0005", "label smoothing 0.1", "fp32"):
        assert part in said
    flat = shown_table("landscape", tables)
    assert flat is not None
    assert "value ± deviation (range)" in [header for header, _, _ in flat.columns]
    assert shown_table("variance", tables) is None


def test_settings_that_differ_name_their_models() -> None:
    tables = curvature.tables((VIT, dataclasses.replace(RESNET, augmentation="none")), points=5)
    shown = shown_table("landscape", tables)
    assert shown is not None
    first, second = shown.settings
    assert first.startswith("vit_nano: measured on embedded:test; fp32; strong augmentation, frozen;")
    assert second.startswith("resnet_nano: measured on embedded:test; fp32; clean images;")


def test_the_page_shows_tables_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionscope.report.page.write_figures", lambda *given: None)
    tables = curvature.tables((VIT, RESNET), points=5)
    figures = curvature.figures(tables)
    again = dataclasses.replace(figures[0], name="hessian-2", title="Again")
    jobs = curvature.jobs((VIT, RESNET))
    page = build_report(tmp_path, tables, jobs, [again, *reversed(figures)]).read_text(encoding="utf-8")
    order = re.findall(r'id="figure-([\w-]+)"', page)
    assert order == ["hessian", "hessian-2", "density", "landscape"]
    assert "<h1>How the loss curves</h1>" in page
    assert 'data-view-button="3-D"' in page
    assert "NEP (share of negative), 95 % interval" in page
    assert "Measured on embedded:test; fp32; strong augmentation, frozen; BatchNorm: kept" in page
