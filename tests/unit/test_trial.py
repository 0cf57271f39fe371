"""What PostgreSQL says to parameters that it could not start with; that it is asked: tests/lab/test_bad_input.py."""

import pytest

import fanatico_trial as trial


def test_values_are_quoted_and_what_is_null_is_left_out():
    text = trial.configuration({"a": "it's", "b": True, "c": None, "d": 5, "e": 0, "f": 1, "g": False})
    assert text == "a = 'it''s'\nb = 'on'\nd = '5'\ne = '0'\nf = '1'\ng = 'off'\n"


@pytest.mark.parametrize(
    ("stderr", "sentence"),
    [
        (
            '2026-11-29 03:00:00.000 UTC [7] FATAL:  could not access file "pg_cron": No such file or directory\n'
            "2026-11-29 03:00:00.000 UTC [7] LOG:  database system is shut down\n",
            'could not access file "pg_cron": No such file or directory',
        ),
        (
            '2026-11-29 03:00:00.000 GMT [7] LOG:  invalid value for parameter "work_mem": "much"\n'
            "2026-11-29 03:00:00.000 GMT [7] HINT:  Valid units for this parameter are ...\n"
            '2026-11-29 03:00:00.000 GMT [7] FATAL:  configuration file "/x/postgresql.conf" contains errors\n',
            'invalid value for parameter "work_mem": "much". Valid units for this parameter are ...',
        ),
        ("", "it ended without a word"),
    ],
)
def test_why_it_ended(stderr, sentence):
    assert trial.startup_error(stderr) == sentence


def test_memory_and_huge_pages():
    assert trial.shared_memory_fault(1000, 2000) == ""
    assert "921600 MiB" in trial.shared_memory_fault(921600, 24000)
    assert trial.huge_pages_fault(80, 80) == ""
    assert "80 huge pages" in trial.huge_pages_fault(80, 0)
