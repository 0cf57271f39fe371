"""Faults under load: no write is lost or duplicated. The duration of the outage is not tested here."""

import json

import pytest

from lab.drill import command, faults, nemesis
from lab.drill.run import password
from tests.support import labs

pytestmark = pytest.mark.healthy_is_enough


def run(lab, *arguments):
    """Return (exit code, result of `salt-run fanatico.drill`, or its output where it failed)."""
    done = lab.salt_run("--out=json", "fanatico.drill", *arguments, check=False)
    return done.returncode, done.stdout if done.returncode else json.loads(done.stdout)


@pytest.mark.parametrize("word", ["postgres-crash", pytest.param("short", marks=pytest.mark.long)])
def test_what_is_promised_about_writes(healthy, tmp_path, word):
    command.carry_out(healthy, faults.named(word), 1, tmp_path)
    drilled = json.loads((tmp_path / "report.json").read_text())["faults"]
    assert list(drilled) == list(faults.named(word))
    for name, fault in drilled.items():
        (record,) = fault["runs"]
        assert set(record["violations"]) <= {"write_gap"}, (name, record["complaints"])
        assert record["acknowledged"] > 1000, name
    assert all(name in (tmp_path / "report.html").read_text() for name in drilled)


@pytest.mark.long
@pytest.mark.parametrize("minutes", [0.1, 3])
def test_nothing_is_lost_or_out_of_order_whatever_happens(healthy, tmp_path, minutes):
    record = nemesis.nemesis(healthy, password(healthy), minutes, tmp_path / "nemesis", print, seed=5)
    assert nemesis.complaints(record) == []
    assert len(record["faults"]) > minutes


@pytest.mark.long
def test_a_drill_on_a_real_fleet(healthy):
    (holder,) = labs.virtual_ip_holders(healthy)
    code, result = run(healthy, "stop", f"host={holder}", "unit=haproxy")
    assert code == 0, result
    assert (result["figures"]["lost"], result["figures"]["nowhere"]) == (0, 0)
    assert result["figures"]["acknowledged"] > 500
    assert labs.virtual_ip_holders(healthy) not in ([], [holder])
    newest = labs.history(healthy, 1)[0]
    assert (newest["kind"], newest["host"], newest["reason"]) == ("drill", holder, result["said"])
    labs.wait_healthy(healthy)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["kill", "host=db1", "unit=patroni"], "force=True"),
        pytest.param(["stop", "host=db1", "unit=ssh"], "ssh.service", marks=pytest.mark.long),
        pytest.param(["explode"], "switchover, stop, kill", marks=pytest.mark.long),
    ],
)
def test_what_it_refuses(lab, arguments, word):
    done = lab.salt_run("fanatico.drill", *arguments, check=False)
    assert done.returncode == 1
    words = labs.said(done.stdout + done.stderr)
    assert word in words
    assert "nothing was changed" in words
    assert "Traceback" not in words
