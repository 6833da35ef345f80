"""Tables of several models and jobs, split as the figures show them."""

import pyarrow as pa

from visionscope.core.grouping import images_text, rows_by_model, stage_boundaries


def table(*rows):
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def job(model, data="d", precision="fp32", job="0", images=8):
    return {"model": model, "data": data, "precision": precision, "job": job, "images": images}


def test_one_job_per_model_is_named_by_the_model_alone():
    groups = rows_by_model(table(job("b", job="1"), job("a", job="2"), job("b", job="1")))
    assert {name: len(rows) for name, rows in groups.items()} == {"b": 2, "a": 1}
    assert list(groups) == ["b", "a"]


def test_a_model_seen_twice_is_told_apart_by_its_jobs():
    rows = job("a", job="1"), job("a", data="e", job="2"), job("b", job="3"), job("a", job="1")
    groups = rows_by_model(table(*rows))
    assert {name: len(own) for name, own in groups.items()} == {"a (1)": 2, "a (2)": 1, "b": 1}


def test_a_table_without_a_run_folder_has_the_model_alone():
    assert list(rows_by_model(pa.table({"model": ["a", "a"]}))) == ["a"]


def test_boundaries_lie_between_the_stages():
    assert stage_boundaries([0.0, 0.5, 0.75, 1.0], [0, 1, 1, 2]) == (0.25, 0.875)


def test_images_in_words():
    assert images_text(table(job("a", images=1))) == "1 image"
    assert images_text(table(job("a"), job("b"))) == "8 images"
    assert images_text(table(job("a"), job("b", images=64))) == "8 to 64 images"
