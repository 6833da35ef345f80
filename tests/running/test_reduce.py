"""Labels that tell jobs apart, whatever they differ in."""

import copy
from typing import Any

from visionscope.running.reduce import told_apart


def job(digest: str = "a" * 64, **fields: Any) -> dict[str, Any]:
    return {
        "job": digest,
        "diagnostic": "lesion",
        "fields": {"mode": "branch", **fields},
        "model": {"label": "net", "weights": "pretrained", "digest": "1" * 64},
        "data": {"spec": "embedded", "split": "test", "augmentation": None, "images": 256, "seed": 0,
                 "image_digest": "3" * 64, "input": {"size": [32, 32]}},
        "precision": "fp32",
        "points": [],
    }  # fmt: skip


def labels(*jobs: dict[str, Any]) -> list[str]:
    before = copy.deepcopy(jobs)
    told = [one["model"]["label"] for one in told_apart(jobs)]
    assert list(before) == list(jobs)
    return told


def test_one_job_keeps_its_label() -> None:
    assert labels(job()) == ["net"]


def test_jobs_are_told_apart_by_what_they_were_asked() -> None:
    assert labels(job(), job("b" * 64, mode="conv")) == ["net (mode branch)", "net (mode conv)"]
    sizes = labels(job(sample_size=64), job("b" * 64, sample_size=128))
    assert sizes == ["net (sample size 64)", "net (sample size 128)"]


def test_long_lists_are_counted() -> None:
    told = labels(job(types=["fog", "snow"]), job("b" * 64, types=list("abcdefg")))
    assert told == ["net (types fog, snow)", "net (types 7 of them)"]


def test_jobs_that_differ_in_nothing_that_has_a_name_get_their_digest() -> None:
    """Other images of the same number, say, or another output: a label never stands for two jobs."""
    other = job("b" * 64)
    other["data"]["image_digest"] = "4" * 64
    assert labels(job(), other) == ["net (job aaaaaa)", "net (job bbbbbb)"]
