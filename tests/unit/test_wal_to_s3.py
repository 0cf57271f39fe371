"""Which WAL is sent from the local repository to S3, and what an error leaves."""

import json
import types

import pytest

from tests.support import program

sender = program("salt/backup/files/wal_to_s3.py")

SUM = "a" * 40


def segment(place, timeline=1, kind=".zst", total=SUM):
    return f"{timeline:08X}{0:08X}{place:08X}-{total}{kind}"


def keys(*names):
    return {sender.key(name) for name in names}


class TestMissing:
    """The choice."""

    def test_what_s3_lacks_oldest_first(self):
        here = [segment(4), segment(2), segment(3), "00000002.history"]
        assert sender.missing(here, keys(segment(2))) == ["00000002.history", segment(3), segment(4)]

    def test_a_hole_is_filled(self):
        here = [segment(n) for n in range(2, 6)]
        assert sender.missing(here, keys(segment(2), segment(5))) == [segment(3), segment(4)]

    def test_what_s3_has_removed_is_not_sent_again(self):
        assert sender.missing([segment(1), segment(2), segment(3)], keys(segment(2))) == [segment(3)]

    def test_an_empty_repository_begins_with_the_newest(self):
        assert sender.missing([segment(1), segment(2), segment(3)], set()) == [segment(3)]
        assert sender.missing([], set()) == []

    def test_after_a_restore_a_newer_timeline_begins_at_an_older_place(self):
        here = [segment(9), segment(5, timeline=2)]
        assert sender.missing(here, keys(segment(8), segment(9))) == [segment(5, timeline=2)]

    def test_another_compression_is_the_same_segment(self):
        assert sender.missing([segment(2)], keys(segment(2, kind=".gz"))) == []

    def test_a_partial_segment_and_other_files(self):
        partial = f"{1:08X}{0:08X}{3:08X}.partial-{SUM}.zst"
        here = [segment(2), partial, "000000010000000000000002.00000028.backup", "archive.info"]
        assert sender.missing(here, keys(segment(2))) == [partial]


class TestSender:
    """The loop, with a program that pretends to be pgBackRest."""

    @pytest.fixture
    def made(self, tmp_path, monkeypatch):
        archive = tmp_path / "repository/archive/main"
        for version, place in (("16-1", 7), ("17-2", 1), ("17-2", 2)):
            folder = archive / version / ("0" * 16)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / segment(place)).write_bytes(b"packed")
        calls, fails = [], set()

        def run(*argv, **options):
            words = [str(word) for word in argv]
            calls.append(words)
            step = next(word for word in ("repo-ls", "repo-get", "-dcq", "archive-push") if word in words)
            if step in fails:
                raise sender.Failed(f"{step} failed")
            return b"{}" if step == "repo-ls" else b"content"

        monkeypatch.setattr(sender, "run", run)
        options = types.SimpleNamespace(
            path=tmp_path / "repository",
            local=1,
            remote=2,
            config="/etc/s3.conf",
            staging=tmp_path / "staging",
            report=tmp_path / "report.json",
        )
        found = sender.Sender(options)
        found.calls, found.fails = calls, fails
        return found

    def state(self, made):
        return json.loads(made.options.report.read_text())

    def test_the_newest_version_of_postgresql_is_sent(self, made):
        made.look()
        pushed = [words[-1] for words in made.calls if "archive-push" in words]
        assert pushed == [str(made.staging / segment(2)[:24])]
        assert (self.state(made)["waiting"], self.state(made)["error"]) == (0, "")
        assert list(made.staging.iterdir()) == []

    def test_s3_alone_is_named_to_the_push(self, made):
        made.look()
        (push,) = [words for words in made.calls if "archive-push" in words]
        assert "--config=/etc/s3.conf" in push

    def test_s3_is_asked_once(self, made):
        made.look()
        made.look()
        assert len([words for words in made.calls if "repo-ls" in words]) == 1

    def test_an_error_leaves_nothing_behind(self, made):
        made.fails.add("archive-push")
        with pytest.raises(sender.Failed):
            made.look()
        assert list(made.staging.iterdir()) == []
        assert self.state(made)["waiting"] == 1
        made.fails.clear()
        made.look()
        assert self.state(made)["waiting"] == 0
