"""A run folder does not lie among the images that it is about."""

from pathlib import Path

import pytest

from running.conftest import NETWORKS, study_of
from visionscope.data.specs import check_apart
from visionscope.errors import ConfigError
from visionscope.running.plan import plan


@pytest.mark.parametrize(
    ("out", "data", "other"),
    [
        ("ph", "ph", "is the data folder ph; take another, such as ph-run"),
        ("ph/run", "ph", "lies in the data folder ph; take another, such as ph-run"),
        ("ph/a/b/run", "ph:train", "lies in the data folder ph; take another, such as ph-run"),
        ("link/run", "ph", "lies in the data folder ph; take another, such as ph-run"),
        ("ph/../ph", "link", "is the data folder link; take another, such as ph-run"),
        ("visionscope-run", ".", "lies in the data folder .; take another, such as ../"),
    ],
)
def test_a_run_folder_among_the_images_is_refused_before_any_work(tmp_path, monkeypatch, out, data, other):
    monkeypatch.chdir(tmp_path)
    Path("ph/train/cat").mkdir(parents=True)
    Path("link").symlink_to("ph")
    with pytest.raises(ConfigError, match=rf"^out: {out} {other}"):
        check_apart(Path(out), data)
    with pytest.raises(ConfigError, match=rf"^out: {out} {other}"):
        plan(study_of(models=[f"{NETWORKS}:convolutions"], data=data, out=out))
    assert not Path("visionscope-run").exists()


@pytest.mark.parametrize(("out", "data"), [("run", "run/images"), ("ph-run", "ph"), ("ph", "embedded"), ("p", "ph")])
def test_other_folders_are_free(tmp_path, monkeypatch, out, data):
    monkeypatch.chdir(tmp_path)
    Path("ph/cat").mkdir(parents=True)
    Path("run/images/cat").mkdir(parents=True)
    check_apart(Path(out), data)
