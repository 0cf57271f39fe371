"""`./bootstrap-master`: what a backup contains, what is refused before anything is touched, and what is written."""

import os
import socket
import stat
import subprocess

import pytest

import fanatico_bootstrap as bootstrap
import fanatico_master_archive as archive
import fanatico_master_state as states

WORD = "k9Wq3xZb7TnRv2L8mP5s"
MANIFEST = {
    "plan": "fanatico-l1",
    "master": "salt",
    "address": "127.0.0.1",
    "nodes": ["salt"],
    "ca_dir": "/etc/fanatico/ca",
}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The state below a temporary directory, with each way to meet an existing file."""
    made = tuple(
        states.Part(str(tmp_path / "host" / meets), meets, meets, lasting=meets != states.KEEP)
        for meets in (states.REFUSE, states.UNCHANGED, states.KEEP, states.JOIN)
    )
    monkeypatch.setattr(states, "parts", lambda tree, ca_dir: made)
    for part in made:
        (tmp_path / "host" / part.path).mkdir(parents=True)
        (tmp_path / "host" / part.path / "file").write_text(f"{part.meets}\n")
    return made


@pytest.fixture
def backup(tmp_path, parts):
    """A backup of that state, as a file and decrypted."""
    path = tmp_path / "backup.gpg"
    archive.write(path, {**MANIFEST, "tree": str(bootstrap.TREE)}, archive.collect(parts), WORD)
    return path


class TestArchive:
    """The file."""

    def test_it_holds_what_was_there(self, tmp_path, parts):
        secret = tmp_path / "host/refuse/deep/secret"
        secret.parent.mkdir(mode=0o750)
        secret.write_bytes(b"\0\xff")
        secret.chmod(0o400)
        (tmp_path / "host/refuse/link").symlink_to("deep/secret")
        with socket.socket(socket.AF_UNIX) as agent:
            agent.bind(str(tmp_path / "host/refuse/S.gpg-agent"))
            entries = archive.collect(parts)
        archive.write(tmp_path / "b", {**MANIFEST, "tree": "/t"}, entries, WORD)
        held = archive.read(tmp_path / "b", WORD)
        assert held.entries == entries
        assert held.manifest == {**MANIFEST, "tree": "/t", "format": archive.FORMAT}
        me = (os.getuid(), os.getgid())
        assert entries[str(secret)] == ("f", 0o400, *me, b"\0\xff")
        assert entries[str(tmp_path / "host/refuse/link")][-1] == b"deep/secret"
        assert str(tmp_path / "host/refuse/S.gpg-agent") not in entries

    def test_a_wrong_passphrase(self, backup):
        with pytest.raises(archive.ArchiveError, match="passphrase"):
            archive.read(backup, "another")

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "zeros"])
    def test_a_damaged_file(self, backup, damage):
        content = bytearray(backup.read_bytes())
        content[len(content) // 2] ^= 1
        texts = {"flip": content, "cut": content[:-40], "empty": b"", "zeros": bytes(3000)}
        backup.write_bytes(texts[damage])
        with pytest.raises(archive.ArchiveError, match="damaged"):
            archive.read(backup, WORD)

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "/etc/salt/../passwd", "/etc/salt//x", "/etc/fanatico/cabinet", "relative"]
    )
    def test_a_path_that_is_no_state_is_refused(self, tmp_path, path):
        archive.write(
            tmp_path / "b",
            {**MANIFEST, "tree": "/srv/fanatico"},
            {path if path[0] == "/" else f"/{path}": ("f", 0o600, 0, 0, b"x")},
            WORD,
        )
        with pytest.raises(archive.ArchiveError, match="not part"):
            archive.read(tmp_path / "b", WORD)

    def test_the_passphrase_is_no_argument(self, tmp_path, parts, monkeypatch):
        run, seen = subprocess.run, []

        def watched(argv, **options):
            seen.append((argv, options.get("env")))
            return run(argv, **options)

        monkeypatch.setattr(archive.subprocess, "run", watched)
        archive.write(tmp_path / "b", {**MANIFEST, "tree": "/t"}, archive.collect(parts), WORD)
        archive.read(tmp_path / "b", WORD)
        assert len(seen) == 2
        assert WORD not in str(seen)

    def test_a_state_that_is_too_large(self, parts, monkeypatch):
        monkeypatch.setattr(archive, "LARGEST", 10)
        with pytest.raises(archive.ArchiveError):
            archive.collect(parts)


class TestCompare:
    """What is written, and when nothing is."""

    @staticmethod
    def compared(backup, tmp_path):
        todo, refused = bootstrap.compare(archive.read(backup, WORD), tmp_path / "host")
        return {path.removeprefix(f"{tmp_path}/host/"): entry[-1] for path, entry in todo.items()}, refused

    def test_the_same_state_is_written_again_nowhere(self, backup, tmp_path):
        assert self.compared(backup, tmp_path) == ({}, [])

    def test_a_bare_host_gets_all(self, backup, tmp_path, parts):
        subprocess.run(["rm", "-r", str(tmp_path / "host")], check=True)
        held = archive.read(backup, WORD)
        todo, refused = bootstrap.compare(held, tmp_path / "host")
        assert (todo, refused) == (held.entries, [])
        bootstrap.place(todo)
        assert archive.collect(parts) == held.entries
        assert stat.S_IMODE((tmp_path / "host").stat().st_mode) == 0o700
        assert self.compared(backup, tmp_path) == ({}, [])

    def test_an_interruption_is_continued(self, backup, tmp_path):
        (tmp_path / "host/refuse/file").unlink()
        todo, refused = self.compared(backup, tmp_path)
        assert (list(todo), refused) == (["refuse/file"], [])

    def test_another_master_is_refused(self, backup, tmp_path):
        (tmp_path / "host/refuse/file").write_text("another key\n")
        assert len(self.compared(backup, tmp_path)[1]) == 1

    def test_what_the_host_has_written_since_is_kept(self, backup, tmp_path):
        (tmp_path / "host/keep/file").write_text("newer\n")
        assert self.compared(backup, tmp_path) == ({}, [])

    def test_lines_are_added(self, backup, tmp_path):
        (tmp_path / "host/join/file").write_text("own")
        assert self.compared(backup, tmp_path) == ({"join/file": b"own\njoin\n"}, [])

    @pytest.mark.parametrize("changed", [False, True])
    def test_a_file_of_the_clone_is_replaced_if_nobody_changed_it(self, backup, tmp_path, changed):
        """The committed plan of a clone, where the master had its own."""
        path = tmp_path / "host/unchanged/file"
        path.write_text("as cloned\n")
        git = ["git", "-C", str(tmp_path / "host"), "-c", "user.name=x", "-c", "user.email=x@x"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True)
        if changed:
            path.write_text("edited here\n")
        todo, refused = self.compared(backup, tmp_path)
        assert (list(todo), len(refused)) == (([], 1) if changed else (["unchanged/file"], 0))

    def test_a_directory_in_the_way_is_refused(self, backup, tmp_path):
        (tmp_path / "host/refuse/file").unlink()
        (tmp_path / "host/refuse/file").mkdir()
        assert len(self.compared(backup, tmp_path)[1]) == 1


@pytest.mark.parametrize(
    ("change", "plan", "misfits"),
    [
        ({}, "fanatico-l1", 0),
        ({}, "another", 1),
        ({}, None, 1),
        ({"tree": "/elsewhere"}, "fanatico-l1", 1),
        ({"address": "192.0.2.1"}, "fanatico-l1", 1),
        ({"tree": "/elsewhere", "address": "192.0.2.1"}, "another", 3),
    ],
)
def test_a_backup_of_another_place_is_refused(change, plan, misfits):
    manifest = {**MANIFEST, "tree": str(bootstrap.TREE), **change}
    assert len(bootstrap.misfits(manifest, plan)) == misfits


def test_the_name_of_the_plan_is_read_without_a_yaml_parser(plan):
    assert bootstrap.plan_name(bootstrap.TREE / "pillar/plan.sls") == plan["name"]
    assert bootstrap.plan_name(bootstrap.TREE / "pillar/none.sls") is None


@pytest.mark.parametrize(("mode", "accepted"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_file_with_the_passphrase_is_for_root_alone(tmp_path, monkeypatch, mode, accepted):
    path = tmp_path / "word"
    path.write_text(f"{WORD}\n")
    path.chmod(mode)
    if accepted:
        assert bootstrap.passphrase(path) == WORD
    else:
        with pytest.raises(bootstrap.Refusal):
            bootstrap.passphrase(path)


def test_the_options_of_the_installation():
    assert bootstrap.install_options(bootstrap.TREE, {})[1:] == []
    wheels = {"wheels": "/w", "wheels_sha256": "ab", "index_url": "https://index.example.org"}
    assert bootstrap.install_options(bootstrap.TREE, wheels)[1:] == [
        "--wheels-sha256=ab",
        "--no-index",
        "--find-links=/w",
    ]


class TestShow:
    """The passphrase is shown once, and again on purpose."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        (tmp_path / "pillar/secrets").mkdir(parents=True)
        (tmp_path / bootstrap.SECRETS).write_text("encrypted")
        monkeypatch.setattr(bootstrap, "TREE", tmp_path)
        monkeypatch.setattr(bootstrap, "SHOWN", tmp_path / "memory/shown")
        text = f'{{"secrets": {{"{bootstrap.SECRET}": "{WORD}"}}}}'
        done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
        monkeypatch.setattr(bootstrap.subprocess, "run", lambda *words, **options: done)

    def test_once(self, capsys):
        assert bootstrap.main(["--passphrase"]) == 0
        assert capsys.readouterr().out == f"{WORD}\n"
        assert bootstrap.main(["--passphrase"]) == 1
        assert WORD not in str(capsys.readouterr())
        assert bootstrap.main(["--passphrase", "--again"]) == 0
        assert capsys.readouterr().out == f"{WORD}\n"

    def test_a_new_one(self, capsys, tmp_path):
        bootstrap.main(["--passphrase"])
        (tmp_path / bootstrap.SECRETS).write_text("another")
        assert bootstrap.main(["--passphrase"]) == 0
