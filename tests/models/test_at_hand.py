"""Where the weights of a spec are, without loading or fetching them."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from visionscope.models import at_hand
from visionscope.models.at_hand import weights_place
from visionscope.models.spec import parse_spec


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "try_to_load_from_cache", lambda name, file: None)


@pytest.mark.parametrize(("answers", "place"), [(True, "to fetch"), (False, "not here")])
def test_the_hub_has_what_is_not_cached(monkeypatch: pytest.MonkeyPatch, answers: bool, place: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(at_hand, "hub_answers", lambda: answers)
    assert weights_place(parse_spec("resnet18.a1_in1k")) == place
    assert weights_place(parse_spec("hf:somebody/something")) == place


def test_a_hub_that_may_not_be_asked_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(at_hand, "hub_answers", lambda: True)
    assert weights_place(parse_spec("resnet18.a1_in1k")) == "not here"


def test_what_is_cached_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = {("timm/resnet18.a1_in1k", "model.safetensors")}
    monkeypatch.setattr(at_hand, "try_to_load_from_cache", lambda name, file: "x" if (name, file) in cached else None)
    monkeypatch.setattr(at_hand, "hub_answers", lambda: False)
    assert weights_place(parse_spec("resnet18.a1_in1k")) == "here"
    assert weights_place(parse_spec("resnet34.a1_in1k")) == "not here"


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("resnet18@own.pth", "file"),
        ("resnet_nano", "here"),
        ("resnet_pico", "not here"),
        ("net.py:make", "here"),
        ("torchvision:resnet18", "to fetch"),
    ],
)
def test_what_a_spec_names_or_the_package_has(spec: str, place: str) -> None:
    assert weights_place(parse_spec(spec)) == place


def test_a_folder_is_here(tmp_path: Path) -> None:
    assert weights_place(parse_spec(f"hf:{tmp_path}")) == "here"
