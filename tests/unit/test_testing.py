"""The test command: results of one pytest over several layers, and the order of files."""

import threading

import pytest

from lab import testing
from lab.errors import LabError
from lab.testing import counted_by_layer, shuffled

REPORT = """<?xml version="1.0"?><testsuites><testsuite tests="6">
<testcase classname="tests.unit.test_a" name="x" time="0.5"/>
<testcase classname="tests.unit.test_a.TestB" name="x" time="0.25"><failure/></testcase>
<testcase classname="tests.unit.test_c" name="x" time="0"><skipped/></testcase>
<testcase classname="tests.rendering.test_a" name="x" time="2"><error/></testcase>
<testcase classname="tests.rendering.test_a" name="y" time="1"/>
<testcase classname="" name="tests.functional.test_a" time="0"><error message="collection failure"/></testcase>
</testsuite></testsuites>"""


def counts(results):
    return {one.layer: (one.passed, one.failed, one.skipped, one.seconds, one.reason) for one in results}


def test_each_layer_has_its_own(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    found = counts(counted_by_layer(["unit", "rendering", "functional"], tmp_path / "report.xml", 1))
    assert found == {
        "unit": (1, 1, 1, 0.75, ""),
        "rendering": (1, 1, 0, 3.0, ""),
        "functional": (0, 1, 0, 0.0, ""),
    }


@pytest.mark.parametrize(
    ("code", "said"), [(5, "no test was selected"), (3, "pytest ended with exit code 3")]
)
def test_a_pytest_that_did_not_get_that_far_has_failed(tmp_path, code, said):
    found = counted_by_layer(["unit", "rendering"], tmp_path / "none.xml", code)
    assert [(one.failed, one.reason) for one in found] == [(1, said), (0, "")]


def test_full_takes_the_files_of_the_lab_layer_in_a_random_order_that_can_be_repeated(monkeypatch, capsys):
    monkeypatch.setenv("FANATICO_TEST", "full")
    option, seed = shuffled([])
    assert option == "--shuffle"
    assert f"--shuffle {seed}" in capsys.readouterr().out
    assert shuffled(["--shuffle", "7"]) == []
    monkeypatch.delenv("FANATICO_TEST")
    assert shuffled([]) == []


def test_the_layers_that_compute_come_last_before_the_lab():
    assert testing.groups(list(testing.LAYERS))[-2:] == [testing.TOGETHER, ("lab",)]


@pytest.mark.parametrize("error", [None, LabError("no lab")])
def test_the_labs_first_deploy_runs_beside_them(monkeypatch, capsys, error):
    """If it fails, the lab layer deploys again."""
    begun, tested = threading.Event(), threading.Event()

    def deploy(name, output):
        begun.set()
        assert tested.wait(10)
        output.write(f"deployed {name}")
        if error:
            raise error

    def run_pytest(names, options):
        assert begun.wait(10)
        tested.set()
        return names

    monkeypatch.setattr(testing, "deploy_first", deploy)
    monkeypatch.setattr(testing, "run_pytest", run_pytest)
    assert testing._run_group(testing.TOGETHER, [], None, alone=False) == testing.TOGETHER
    assert f"deployed {testing.worker_lab(0)}" in capsys.readouterr().out


def test_without_the_lab_layer_nothing_is_deployed(monkeypatch):
    monkeypatch.delattr(testing, "deploy_first")
    monkeypatch.setattr(testing, "run_pytest", lambda names, options: names)
    assert testing._run_group(testing.TOGETHER, [], None, alone=True) == testing.TOGETHER


def test_an_interrupted_run_counts_as_failed(tmp_path):
    """pytest writes an entry without a file."""
    report = tmp_path / "report.xml"
    report.write_text('<testsuite><testcase classname="" name="internal"><error/></testcase></testsuite>')
    (result,) = counted_by_layer(["lab"], report, 2)
    assert (result.passed, result.failed) == (0, 1)
