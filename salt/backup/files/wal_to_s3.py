# Managed by Salt (salt/backup).
"""
Send WAL from the local repository to the one in S3, for as long as it runs.

The databases send to the local repository alone: while S3 is away, pgBackRest would try it for minutes before each attempt, and
WAL would wait on the primary. So the local repository is the queue. Runs as postgres.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

PGBACKREST = "/usr/bin/pgbackrest"
STANZA = "main"
PAUSE, LONG_PAUSE = 5, 30  # seconds between two looks, and after an error
RELIST = 3600  # seconds until S3 is asked again what it has
LIMIT = 300  # seconds for one command
# A segment with its checksum and compression, or the history of a timeline.
SEGMENT = re.compile(
    r"(?P<name>(?P<timeline>[0-9A-F]{8})(?P<place>[0-9A-F]{16})(?:\.partial)?)-(?P<sum>[0-9a-f]{40})(?P<type>\.\w+)?"
)
HISTORY = re.compile(r"[0-9A-F]{8}\.history")


class Failed(Exception):
    """A file could not be sent; the message is the reason."""


def run(*argv, **options):
    """Run a program and return what it printed. Raises Failed with its message."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=LIMIT, check=False, **options)
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"{pathlib.Path(argv[0]).name}: no result within {LIMIT} s") from exc
    if done.returncode:
        why = " ".join((done.stderr or done.stdout or b"").decode(errors="replace").split())[:300]
        raise Failed(f"{pathlib.Path(argv[0]).name} failed with code {done.returncode}: {why}")
    return done.stdout


def key(name):
    """Return what a file is, however it is compressed: segment and checksum; None for a file that no restore needs."""
    found = SEGMENT.fullmatch(name)
    if found:
        return f"{found['name']}-{found['sum']}"
    return name if HISTORY.fullmatch(name) else None


def missing(here, there):
    """
    Return the names in ``here`` that S3 needs and lacks, oldest first.

    here
        The names of the files in the local repository.
    there
        The keys of those in S3.

    What is older than the oldest segment in S3 was removed there, with the backups that needed it. An empty one begins with
    the newest segment.
    """
    ours = {key(name): name for name in here if key(name)}
    segments = [found for found in map(SEGMENT.fullmatch, here) if found]
    oldest = min(
        (found.groups()[1:3] for found in map(SEGMENT.fullmatch, there) if found),
        default=max((found.groups()[1:3] for found in segments), default=None),
    )

    def needed(name):
        found = SEGMENT.fullmatch(name)
        # After a restore a newer timeline begins at an older place.
        return found is None or found["place"] >= oldest[1] or found["timeline"] > oldest[0]

    lacking = [name for known, name in ours.items() if known not in there and needed(name)]
    return sorted(lacking, key=lambda name: (not HISTORY.fullmatch(name), name))


class Sender:
    """Sends files. ``options``: see main."""

    def __init__(self, options):
        self.options = options
        self.there, self.asked = set(), 0.0
        self.staging = options.staging
        self.staging.mkdir(mode=0o700, exist_ok=True)
        self.status = {"error": "", "waiting": 0, "oldest": None, "sent": 0, "at": time.time()}

    def local(self):
        """Return ``{name: path}`` of the WAL of the present version of PostgreSQL in the local repository."""
        archive = self.options.path / "archive" / STANZA
        versions = sorted(archive.glob("*-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        if not versions:
            raise Failed(f"{archive} holds no WAL yet")
        return {path.name: path for path in versions[-1].rglob("*") if key(path.name)}

    def ask(self):
        """Ask S3 what it has, at the beginning, after an error and every hour."""
        if time.time() - self.asked < RELIST:
            return
        own = [
            f"--repo={self.options.remote}",
            f"--stanza={STANZA}",
            "--log-level-console=off",
            "--log-level-stderr=error",
        ]
        listed = json.loads(
            run(PGBACKREST, *own, "repo-ls", "--recurse", "--output=json", f"archive/{STANZA}")
        )
        self.there = {known for name in listed if (known := key(name.rpartition("/")[2]))}
        self.asked = time.time()

    def send(self, path):
        """Send one file: from the local repository, decrypted and not compressed, to S3."""
        found = SEGMENT.fullmatch(path.name)
        plain = self.staging / (found["name"] if found else path.name)
        own = [
            f"--repo={self.options.local}",
            f"--stanza={STANZA}",
            "--log-level-console=off",
            "--log-level-stderr=error",
        ]
        content = run(PGBACKREST, *own, "repo-get", str(path.relative_to(self.options.path)))
        if found and found["type"] == ".zst":
            content = run("/usr/bin/zstd", "-dcq", input=content)
        elif found and found["type"]:
            raise Failed(f"{path.name}: unknown compression")
        plain.write_bytes(content)
        try:
            alone = [
                f"--config={self.options.config}",
                f"--stanza={STANZA}",
                "--compress-type=zst",
                "--log-path=/var/log/pgbackrest",
            ]
            quiet = ["--lock-path=/run/pgbackrest", "--log-level-console=off", "--log-level-stderr=error"]
            run(PGBACKREST, *alone, *quiet, "archive-push", str(plain))
        finally:
            plain.unlink()
        self.there.add(key(path.name))

    def look(self):
        """Send what is missing; note the state after each file."""
        self.ask()
        here = self.local()
        waiting = missing(here, self.there)
        for number, name in enumerate(waiting):
            self.note(waiting=len(waiting) - number, oldest=here[name].stat().st_mtime)
            self.send(here[name])
            self.status["sent"] = time.time()
        self.note(error="", waiting=0, oldest=None)

    def note(self, **facts):
        """Write the state for health."""
        self.status |= facts | {"at": time.time()}
        new = self.options.report.with_suffix(".new")
        new.write_text(json.dumps(self.status) + "\n")
        new.replace(self.options.report)


def main():
    """Run until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=pathlib.Path, required=True, help="the local repository")
    parser.add_argument("--local", type=int, required=True, help="its index")
    parser.add_argument("--remote", type=int, required=True, help="the index of the repository in S3")
    parser.add_argument("--config", required=True, help="the configuration of the repository in S3 alone")
    parser.add_argument(
        "--staging", type=pathlib.Path, required=True, help="a directory for the file that is sent"
    )
    parser.add_argument("--report", type=pathlib.Path, required=True, help="the JSON file")
    sender = Sender(parser.parse_args())
    while True:
        pause = PAUSE
        try:
            sender.look()
        except (Failed, OSError, ValueError) as exc:
            text = str(exc)[:300]
            if text != sender.status["error"]:
                sys.stderr.write(f"{text}\n")
            sender.asked, pause = 0.0, LONG_PAUSE
            sender.note(error=text)
        time.sleep(pause)


if __name__ == "__main__":
    main()
