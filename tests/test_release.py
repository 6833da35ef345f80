"""What a release says of itself."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _headings() -> list[str]:
    return re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_changelog_begins_with_the_version_that_is_built() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert re.fullmatch(rf"\[{re.escape(version)}\] - (unreleased|\d{{4}}-\d\d-\d\d)", _headings()[0])


def test_the_versions_of_the_changelog_go_down_and_have_dates_but_for_the_first() -> None:
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (unreleased|\d{4}-\d\d-\d\d)", one) for one in _headings()]
    assert all(found), _headings()
    versions = [tuple(map(int, one.groups()[:3])) for one in found if one]
    assert versions == sorted(set(versions), reverse=True)
    assert all(one and one[4] != "unreleased" for one in found[1:])
