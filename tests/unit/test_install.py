"""Salt from a directory of wheels, held to a hash."""

import subprocess

import pytest

from tests.support import program

install = program("salt/minion/files/install.py")


@pytest.fixture
def wheels(tmp_path):
    for name, content in {
        "b-1.whl": b"b",
        "B-2.whl": b"B",
        "a_c-1.whl": b"a",
        "requirements.txt": b"x",
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_person_can_compute_the_hash(wheels):
    told = subprocess.run(
        ["sh", "-c", "LC_ALL=C; export LC_ALL; sha256sum *.whl | sha256sum"],
        cwd=wheels,
        capture_output=True,
        text=True,
        check=True,
    )
    assert install.fingerprint(wheels) == told.stdout.split()[0]


def test_the_right_wheels_are_taken(wheels):
    options = [f"--wheels-sha256={install.fingerprint(wheels)}", "--no-index", f"--find-links={wheels}"]
    assert install.checked(options) == ["--no-index", f"--find-links={wheels}"]


def test_who_names_no_hash_is_not_asked_for_one(wheels):
    assert install.checked(["--no-index", f"--find-links={wheels}"]) == [
        "--no-index",
        f"--find-links={wheels}",
    ]


@pytest.mark.parametrize("change", ["another", "more", "none"])
def test_other_wheels_are_refused(wheels, change, capsys):
    wanted = install.fingerprint(wheels)
    if change == "another":
        (wheels / "b-1.whl").write_bytes(b"else")
    elif change == "more":
        (wheels / "z-1.whl").write_bytes(b"z")
    else:
        (wheels / "b-1.whl").unlink()
    with pytest.raises(SystemExit, match="minion:install:wheels_sha256"):
        install.checked([f"--wheels-sha256={wanted}", "--no-index", f"--find-links={wheels}"])
