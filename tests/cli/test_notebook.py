"""What a notebook hands over, and what it is shown."""

import re
import threading

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import visionscope as vs
from running.networks import convolutions, tokens
from visionscope.core import ticking
from visionscope.core.ticking import Ticking, duration
from visionscope.errors import ConfigError
from visionscope.running import brought

IMAGES = torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 10
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def silent() -> nn.Module:
    """A network that does not say how it wants its images."""
    network = convolutions()
    del network.pretrained_cfg
    return network


class Pairs(Dataset):
    """Never ends with an IndexError."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return IMAGES[place % 20], int(LABELS[place % 20])


FORMS = {
    "array": (IMAGES.numpy(), LABELS.numpy()),
    "backwards array": (IMAGES.flip(0).numpy()[::-1], LABELS.tolist()),
    "big-endian array": (IMAGES.numpy().astype(">f4"), [np.int64(label) for label in LABELS]),
    "loader of pairs": (DataLoader(TensorDataset(IMAGES, LABELS), batch_size=6), None),
    "loader of images": (DataLoader(TensorDataset(IMAGES), batch_size=20), LABELS),
    "loader of a dataset": (DataLoader(Pairs(), batch_size=7), None),
    "dataset": (Pairs(), None),
    "list of pairs": ([(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)], None),
    "list of arrays": ([(image.numpy(), label) for image, label in zip(IMAGES, LABELS, strict=True)], None),
    "list of images": (list(IMAGES), LABELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_numbers_from_every_form(form: str) -> None:
    given, labels = FORMS[form]
    expected = vs.lesion(convolutions(), IMAGES, LABELS).table.drop_columns(["data"])
    assert vs.lesion(convolutions(), given, labels).table.drop_columns(["data"]).equals(expected)
    maps = vs.variance(convolutions(), IMAGES).table.drop_columns(["data"])
    assert vs.variance(convolutions(), given).table.drop_columns(["data"]).equals(maps)
    assert vs.points(convolutions(), given) == vs.points(convolutions(), size=16)


def test_a_read_only_array_is_taken_without_a_warning() -> None:
    array = IMAGES.numpy().copy()
    array.flags.writeable = False
    assert vs.variance(convolutions(), array).images == 20


def test_a_shuffled_loader_leaves_torch_s_generator_as_it_was() -> None:
    network = convolutions()
    before = torch.get_rng_state()
    vs.variance(network, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_come_once() -> None:
    with pytest.raises(ConfigError, match=r"^labels: come with the images; leave them out"):
        vs.lesion(convolutions(), DataLoader(TensorDataset(IMAGES, LABELS)), LABELS)


def test_more_images_than_memory_should_hold_are_refused_at_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brought, "MOST_BYTES", IMAGES.nbytes - 1)
    seen: list[int] = []

    class Counting(Pairs):
        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            seen.append(place)
            return super().__getitem__(place)

    for images in (Counting(), DataLoader(Counting(), batch_size=5)):
        with pytest.raises(ConfigError, match=r"^images: they are gathered in memory, .* Choose some: .*Subset\("):
            vs.variance(convolutions(), images)
    assert len(seen) <= 6


def pictures(count: int) -> list[PIL.Image.Image]:
    drawn = np.random.default_rng(0).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)
    return [PIL.Image.fromarray(one) for one in drawn]


def test_pil_images_are_brought_to_what_the_network_wants() -> None:
    given = pictures(8)
    expected = torch.stack(
        [
            torch.from_numpy(np.asarray(image.resize((19, 16), PIL.Image.Resampling.BICUBIC))[:, 2:18].copy())
            for image in given
        ]
    )
    expected = (expected.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    found = vs.variance(silent(), given, size=16, **HALVES).table["variance"].to_pylist()
    assert found == pytest.approx(vs.variance(silent(), expected).table["variance"].to_pylist(), rel=1e-5)
    stated = vs.variance(convolutions(), given).table["variance"].to_pylist()  # by its pretrained_cfg
    assert stated == found
    with pytest.raises(ConfigError, match=r"^images: Convolutions does not say how it wants its images; give size=, m"):
        vs.variance(silent(), given)


def test_a_folder_for_a_network_with_its_size_and_normalisation(tmp_path) -> None:
    for number, image in enumerate(pictures(6)):
        image.save(tmp_path / f"{number}.png")
    found = vs.variance(silent(), str(tmp_path), size=(16, 16), **HALVES)
    assert found.images == 6
    config = vs.InputConfig(size=(16, 16), **HALVES)
    assert vs.variance(silent(), tmp_path, input=config).table.equals(found.table)
    listed = vs.variance(silent(), pictures(6), size=16, **HALVES).table["variance"].to_pylist()
    assert found.table["variance"].to_pylist() == pytest.approx(listed, rel=1e-6)  # in another order
    other = vs.variance(silent(), tmp_path, size=16, mean=(0.5,) * 3, std=(0.25,) * 3).table["variance"].to_pylist()
    assert other[0] == pytest.approx(4 * listed[0], rel=1e-4)  # the stem is linear, but for its bias at the border


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 16}, r"give mean=, std=, such as"),
        ({"size": (16, 16, 16), **HALVES}, r"size: must be height and width in pixels"),
        ({"size": 16, "mean": (0.5,), "std": (0.5, 0.5, 0.5)}, r"std: must have as many values as mean, 1; got"),
        ({"size": 16, "mean": (0.5,) * 3, "std": (0.0,) * 3}, r"std must be positive"),
        (
            {"size": 16, "input": vs.InputConfig(size=(16, 16), **HALVES)},
            r"size: input says it already; leave one of them out",
        ),
    ],
)
def test_size_and_normalisation_obey_their_rules(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vs.variance(silent(), "embedded", **given)


def test_size_beside_a_tensor_must_be_its_own() -> None:
    with pytest.raises(ConfigError, match=r"^size: must be that of the images, \(16, 16\); got \(32, 32\)"):
        vs.frequency_noise(silent(), IMAGES, LABELS, size=32, **HALVES)
    noisy = vs.frequency_noise(silent(), IMAGES, LABELS, frequencies=(0.5,), **HALVES).table
    config = vs.InputConfig(size=(16, 16), **HALVES)
    assert noisy.equals(vs.frequency_noise(silent(), IMAGES, LABELS, frequencies=(0.5,), input=config).table)


def test_attention_of_a_network_and_a_tensor_needs_no_more() -> None:
    assert vs.attention(tokens(), IMAGES).images == 20


def test_points_of_images_or_of_a_size() -> None:
    with pytest.raises(ConfigError, match=r"^size: the images have one already; leave it out"):
        vs.points(convolutions(), IMAGES, size=16)
    for wrong in (16, (16, 24)):
        with pytest.raises(ConfigError, match=r"^images: must be images; got .*, pass size="):
            vs.points(convolutions(), wrong)
    for wrong in ("embedded", [], IMAGES[0]):
        with pytest.raises(ConfigError, match=r"^images: "):
            vs.points(convolutions(), wrong)


def test_a_result_is_a_line_and_a_small_table() -> None:
    result = vs.fourier(convolutions(), IMAGES)
    lines = repr(result).splitlines()
    assert lines[0] == "fourier of Convolutions: 3 points, 20 images"
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 120
    assert "pyarrow" not in repr(result)
    assert "schema" not in repr(result)
    similar = repr(vs.similarity(tokens(), IMAGES)).splitlines()
    assert similar[0] == "similarity of Tokens: 3 points, 20 images"
    assert len(similar) <= 13
    hessian = repr(vs.hessian(convolutions(), IMAGES, LABELS, k=1, mini_batches=1))
    assert hessian.startswith("hessian of Convolutions: 1 mini-batch, 16 images\n")


def test_a_notebook_s_table_is_html_of_the_same_cells() -> None:
    network = convolutions()
    network.__class__ = type("Net<b>", (type(network),), {})
    result = vs.lesion(network, IMAGES, LABELS)
    page = result._repr_html_()
    assert "<b>lesion of Net&lt;b&gt;: 20 images</b>" in page
    assert page.count("<tr>") == 1 + len(result.summary())
    assert len(re.findall("<table>", page)) == 1


def test_a_summary_is_a_data_frame() -> None:
    frame = vs.fourier(convolutions(), IMAGES).summary()
    assert isinstance(frame, pd.DataFrame)
    assert frame["points"].tolist() == [2]
    plain = vs.similarity(tokens(), IMAGES)
    assert plain.summary().equals(plain.to_pandas())


def test_long_work_writes_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(ticking, "FIRST_SECONDS", 0.01)
    network, gate = convolutions(), threading.Event()
    network.register_forward_hook(lambda *_: gate.wait(0.03) or None)
    vs.lesion(network, IMAGES, LABELS)
    said = capsys.readouterr().err.splitlines()
    assert said
    pattern = r"visionscope: Convolutions lesion: \d+ of \d+ parts?, (about )?\d+ s (left|so far)"
    assert [line for line in said if not re.fullmatch(pattern, line)] == []


def test_lines_come_ever_more_rarely_and_end_with_the_work(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(ticking, "FIRST_SECONDS", 0.02)
    with Ticking(lambda seconds: f"at {seconds:.2f}") as shown:
        threading.Event().wait(0.2)
    assert not shown._thread.is_alive()
    said = capsys.readouterr().err.splitlines()
    assert 2 <= len(said) <= 4  # at 0.02, 0.04, 0.08 and 0.16 s
    with Ticking(lambda seconds: "nothing", shown=False):
        threading.Event().wait(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
