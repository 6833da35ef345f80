import base64
import gzip
import io
import json
import math

from PIL import Image

from report import outcomes
from visionscope.core.figure import Picture
from visionscope.report.packing import packed, packed_values
from visionscope.report.pictures import picture_source, sheet_sources


def unpacked(text: str) -> str:
    return gzip.decompress(base64.b64decode(text)).decode()


def image(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


def test_text_comes_back_and_packs_the_same_at_any_time() -> None:
    assert unpacked(packed("Δ </script> ä")) == "Δ </script> ä"
    assert base64.b64decode(packed("a"))[4:8] == bytes(4)  # no time


def test_long_lists_are_kept_once() -> None:
    long = [0.5 * number for number in range(8)]
    values = json.loads(unpacked(packed_values({"a": {"x": long, "y": (1, 2)}, "b": [{"x": tuple(long)}]})))
    assert values == {"a": {"x": {"$": 0}, "y": [1, 2]}, "b": [{"x": {"$": 0}}], "lists": [long]}


def test_values_that_are_not_finite_become_null() -> None:
    values = json.loads(unpacked(packed_values({"a": [math.nan, 1.0], "b": [math.inf] * 8, "c": -math.inf})))
    assert values == {"a": [None, 1.0], "b": {"$": 0}, "c": None, "lists": [[None] * 8]}


def test_small_sheets_are_shown_without_loss() -> None:
    sheet = outcomes.sheet()
    sources, lossy = sheet_sources(sheet.pictures)
    assert not lossy
    assert sources == [[picture_source(one) for one in row] for row in sheet.pictures]
    assert image(sources[0][0]).format == "PNG"


def test_large_sheets_are_compressed_and_keep_their_size() -> None:
    sheet = outcomes.sheet(96)
    sources, lossy = sheet_sources(sheet.pictures)
    assert lossy
    assert [len(row) for row in sources] == [5] * 15
    pictures = [image(source) for row in sources for source in row]
    assert {(one.format, one.size) for one in pictures} == {("WEBP", (96, 96))}
    assert sum(len(source) for row in sources for source in row) < 0.35 * sum(
        len(picture_source(one)) for row in sheet.pictures for one in row
    )


def test_one_picture_is_itself() -> None:
    stored = io.BytesIO()
    Image.new("RGB", (2, 3), (10, 20, 30)).save(stored, "PNG")
    shown = image(picture_source(Picture(png=stored.getvalue(), title="")))
    assert shown.size == (2, 3)
    assert shown.getpixel((0, 0)) == (10, 20, 30)
