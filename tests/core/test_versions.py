"""One place tells versions, to the records of jobs and to the page."""

import importlib.metadata
import platform

from visionscope.core.versions import DRAWING, MEASURING, versions
from visionscope.report.files import environment


def test_versions_are_those_that_are_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert {name: found[name] for name in ("torch", "scipy", "pillow")} == {
        name: importlib.metadata.version(name) for name in ("torch", "scipy", "pillow")
    }
    assert list(versions(("numpy", "no-such-package"))) == ["python", "numpy"]


def test_a_page_and_a_job_tell_the_same_versions():
    own = versions()
    told = environment([{"versions": own, "device": "cpu"}, {"versions": own}, {}])
    assert told["jobs"] == [own]
    assert {"python": told["python"], **told["packages"]} == versions((*MEASURING, *DRAWING))
    assert own.items() <= {"python": told["python"], **told["packages"]}.items()
