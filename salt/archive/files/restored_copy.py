# Managed by Salt (salt/archive).
"""
A copy of the databases as they were at a moment, beside the repository and away from the cluster.

``drill`` proves that the backups can be restored: to a random moment of the last day, checked, measured, removed. It runs every
night, with Salt on or off. ``clone`` keeps the copy for a person. Both run as postgres, and write a report in JSON.
"""

import argparse
import bisect
import dataclasses
import datetime
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import time

STANZA = "main"
RESTORES = pathlib.Path("/var/lib/fanatico-backup/restores.json")  # written by fanatico_backup.record_restore
DAY = 86400
READY = 600  # seconds until the server must begin its recovery
RECOVERY = 7 * DAY  # seconds at most until it has ended: it takes as long as there is WAL
HEARTBEAT = "SELECT extract(epoch FROM max(at)) FROM heartbeat"
_TRIES = 1000  # random moments
_SEGMENT = re.compile(r"(?:.*/)?[0-9A-F]{24}-[0-9a-f]{40}(?:\.[a-z0-9]+)?")
LOST = 60  # seconds before the target that the last heartbeat may be


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a recovery ends."""

    kind: str = ""  # time, xid, lsn or name; empty: at the end of the WAL
    value: str = ""  # for a time: seconds since 1970
    timeline: str = ""  # empty: the latest

    def options(self):
        """Return it as options of pgBackRest."""
        found = [f"--type={self.kind or 'default'}"]
        if self.kind:
            found += [f"--target={self._text()}", "--target-action=promote"]
        return [*found, f"--target-timeline={self.timeline}"] if self.timeline else found

    def _text(self):
        if self.kind != "time":
            return self.value
        moment = datetime.datetime.fromtimestamp(float(self.value), datetime.UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")


class CopyError(Exception):
    """The copy could not be made, or is not what it should be; the message is the reason."""


def run(*argv, timeout=None):
    """Run a program and return what it printed. Raises CopyError with its message."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise CopyError(f"{pathlib.Path(argv[0]).name} failed with code {done.returncode}: {why}")
    return done.stdout


def choose(backups, wal, now, margin, restores=(), rng=random):
    """
    Return ``(label, target)``: a moment in seconds since 1970, None for the end of the WAL, and the newest backup before it.

    backups
        ``[{"label", "stop", "error"}, ...]``, oldest first.
    wal
        When each segment of WAL arrived, in seconds since 1970, oldest first.
    now
        Seconds since 1970.
    margin
        Seconds before now from which WAL may not be in the repository yet.
    restores
        ``[{"at", "moment"}, ...]``: when the whole cluster was restored, and to which moment.

    The moment is a random one of the last day that a backup reaches, and at which WAL was written: while the databases were down,
    there was no heartbeat. Raises CopyError without a backup.
    """
    good = [backup for backup in backups if not backup["error"] and not given_up(backup["stop"], restores)]
    if not good:
        raise CopyError("there is no backup without errors")
    restored = max((restore["at"] for restore in restores), default=0)
    first, last = max(good[0]["stop"], restored, now - DAY - 1) + 1, now - margin
    if first >= last:
        return good[-1]["label"], None
    for _ in range(_TRIES):
        target = rng.uniform(first, last)
        if wrote(wal, target, margin):
            return next(backup["label"] for backup in reversed(good) if backup["stop"] < target), target
    return good[-1]["label"], None


def wrote(wal, moment, margin):
    """Return whether WAL arrived shortly before a moment and shortly after it; ``margin`` in seconds."""
    after = bisect.bisect_left(wal, moment)
    return 0 < after < len(wal) and wal[after - 1] >= moment - margin and wal[after] <= moment + margin


def given_up(moment, restores):
    """Return whether a restore of the whole cluster gave up what the databases were at a moment."""
    return any(restore["moment"] < moment <= restore["at"] for restore in restores)


def size(directory):
    """Return the size of a directory in bytes."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


class Copy:
    """The restored cluster: a data directory, and a server that only this program reaches."""

    def __init__(self, directory, programs, port, repository=None):
        self.data, self.programs, self.port = directory / "data", programs, port
        self.repository = repository  # pgBackRest's index; None: the first that works
        self.socket, self.log = directory, directory / "server.log"
        # Beside the directory, so that it is there until the last file is deleted.
        self.mark = directory.with_name(f"{directory.name}.copy")

    def create(self):
        """Create the directory, in place of a former copy. Raises CopyError if what is there is no copy of this program."""
        if self.socket.exists() and not self.mark.exists():
            raise CopyError(
                f"{self.socket} exists and is no copy: set the pillar's directory to a path of its own"
            )
        self.remove()
        self.mark.touch(mode=0o600)
        self.socket.mkdir(mode=0o700, parents=True)

    def remove(self):
        """Stop the server and delete the copy; nothing that is no copy of this program."""
        if self.mark.exists():
            self.stop()
            shutil.rmtree(self.socket, ignore_errors=True)
            self.mark.unlink()

    def restore(self, label, target):
        """Restore a backup; its recovery will end at a Target."""
        self.data.mkdir(mode=0o700)
        self.fetch(label, target, f"--pg1-path={self.data}", "--reset-pg1-host", "--archive-mode=off")

    def fetch(self, label, target, *own):
        """Run pgBackRest's restore."""
        quiet = ["--log-level-console=off", "--log-level-stderr=error"]
        run(
            "/usr/bin/pgbackrest",
            f"--stanza={STANZA}",
            *quiet,
            *([f"--repo={self.repository}"] if self.repository else []),
            *own,
            f"--set={label}",
            *target.options(),
            "restore",
        )

    def settings(self):
        """Return the settings with which the server is started."""
        return {
            # Else it would pause where the primary's max_connections were raised after the backup.
            "hot_standby": "off",
            "shared_buffers": "64MB",
            "fsync": "off",
            "archive_mode": "off",
        }

    def start(self):
        """Start the server and wait until it is promoted."""
        self.launch(self.settings())
        self.wait("to be promoted", self.promoted)

    def launch(self, settings):
        """Start the server: it listens on a socket of its own, where only the system user postgres may connect."""
        # Patroni's configuration, which is restored too, names files of a database host.
        access = self.socket / "pg_hba.conf"
        access.write_text("local all postgres peer\n")
        settings = {
            "hba_file": access,
            "ident_file": self.data / "pg_ident.conf",
            "listen_addresses": "",
            "port": self.port,
            "unix_socket_directories": self.socket,
            "ssl": "off",
            "synchronous_standby_names": "",
            "log_statement": "none",
            **settings,
        }
        options = " ".join(f"-c {name}={shlex.quote(str(value))}" for name, value in settings.items())
        where = ["-D", self.data, "-s", "-w", "-t", str(READY), "-l", self.log, "-o", options]
        try:
            run(self.programs / "pg_ctl", *where, "start")
        except CopyError as exc:
            raise CopyError(self.reason(str(exc))) from exc

    def wait(self, what, done):
        """Wait until ``done()``, while the server runs."""
        deadline = time.monotonic() + RECOVERY
        while not done():
            if not self.runs():
                raise CopyError(self.reason(f"the server ended while it waited {what}"))
            if time.monotonic() > deadline:
                raise CopyError(f"waited {RECOVERY} s for the server {what}")
            time.sleep(0.2)

    def runs(self):
        """Return whether the server runs."""
        try:
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), 0)
        except (OSError, ValueError, IndexError):
            return False
        return True

    def promoted(self):
        """Return whether the recovery of a server without hot standby has ended."""
        # The eighth line is the state, see miscadmin.h: "standby" until then.
        lines = (self.data / "postmaster.pid").read_text().splitlines() if self.runs() else []
        return len(lines) > 7 and lines[7].strip() == "ready"

    def reason(self, text):
        """Return ``text`` with the last FATAL line of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return f"{text}; {fatal[-1]}" if fatal else text

    def ask(self, sql, database="postgres", timeout=60):
        """Return the answer to a query with one value."""
        where = ["-h", self.socket, "-p", str(self.port), "-d", database]
        return run(self.programs / "psql", "-XAtq", *where, "-c", sql, timeout=timeout).strip()

    def check(self):
        """Check every table and index of every database."""
        where = ["-h", self.socket, "-p", str(self.port)]
        run(self.programs / "pg_amcheck", *where, "--all", "--install-missing", "--heapallindexed")

    def stop(self):
        """Stop the server, whatever its state."""
        if (self.data / "postmaster.pid").exists():
            argv = [self.programs / "pg_ctl", "-D", self.data, "-s", "-m", "immediate", "stop"]
            subprocess.run(argv, check=False, timeout=120)


def timed(report, name, step):
    """Run a step and note its duration in the report."""
    begun = time.monotonic()
    step()
    report[f"{name}_seconds"] = round(time.monotonic() - begun, 1)


# What a step may raise.
FAILURES = (CopyError, OSError, ValueError, KeyError, subprocess.SubprocessError)


def drill(copy, margin):
    """Run the drill and return its report; a failure is in ``error``."""
    report = {"began": time.time(), "error": "", "repository": copy.repository}
    try:
        copy.create()
        found, wal = backups(copy.repository), segments(copy.repository)
        label, moment = choose(found, wal, time.time(), margin, restores())
        report["backup"], report["target"] = label, moment
        target = Target() if moment is None else Target("time", str(moment))
        timed(report, "restore", lambda: copy.restore(label, target))
        timed(report, "recovery", copy.start)
        timed(report, "check", copy.check)
        report["bytes"] = size(copy.data)
        report["behind_seconds"] = behind(copy, report["target"] or report["began"])
        if report["target"] and not 0 <= report["behind_seconds"] <= LOST:
            raise CopyError(
                f"the last heartbeat of the copy is {report['behind_seconds']} s before the target"
            )
    except FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
    finally:
        copy.remove()
    report["seconds"] = round(time.time() - report["began"], 1)
    return report


def turn(repositories, now):
    """Return the repository of the day: each in its turn. ``now``: seconds since 1970."""
    return repositories[int(now // DAY) % len(repositories)]


def segments(repository):
    """Return when each segment of WAL arrived in a repository, in seconds since 1970, oldest first."""
    files = asked(repository, "repo-ls", "--recurse", f"archive/{STANZA}").items()
    return sorted(file["time"] for path, file in files if _SEGMENT.fullmatch(path))


def backups(repository):
    """Return the backups in a repository, ``[{"label", "stop", "error"}, ...]``, oldest first."""
    return [
        {"label": one["label"], "stop": one["timestamp"]["stop"], "error": one.get("error")}
        for one in asked(repository, "info")[0]["backup"]
    ]


def asked(repository, command, *words):
    """Return the answer of a repository to a command of pgBackRest."""
    own = [f"--stanza={STANZA}", f"--repo={repository}", "--log-level-console=off", "--output=json"]
    return json.loads(run("/usr/bin/pgbackrest", *own, command, *words))


def restores():
    """Return when the whole cluster was restored, and to which moments."""
    try:
        return json.loads(RESTORES.read_text())
    except FileNotFoundError:
        return []


def behind(copy, moment):
    """Return how many seconds before a moment the last heartbeat of the copy is. Raises CopyError if it has none."""
    seen = copy.ask(HEARTBEAT, "fanatico_proof")
    if not seen:
        raise CopyError("the copy has no heartbeat")
    return round(moment - float(seen), 1)


def clone(copy, label, target):
    """Restore a backup to a Target, keep it running, and return its report."""
    report = {
        "began": time.time(),
        "error": "",
        "repository": copy.repository,
        "backup": label,
        "target": target.value,
    }
    try:
        copy.create()
        timed(report, "restore", lambda: copy.restore(label, target))
        timed(report, "recovery", copy.start)
        report["bytes"] = size(copy.data)
        moment = float(target.value) if target.kind == "time" else report["began"]
        report["behind_seconds"] = behind(copy, moment)
    except FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
        copy.remove()
    report["seconds"] = round(time.time() - report["began"], 1)
    return report


def write(path, report):
    """Write a report and print it; return the exit code."""
    text, new = json.dumps(report) + "\n", path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
    sys.stdout.write(text)
    return 1 if report["error"] else 0


def add_target(parser):
    """Add the options that name a backup and a Target."""
    parser.add_argument("--backup", help="the label of the backup")
    parser.add_argument(
        "--kind", default="", help="of the target: time, xid, lsn, name; empty: the end of the WAL"
    )
    parser.add_argument("--value", default="", help="of the target; a time in seconds since 1970")
    parser.add_argument("--timeline", default="", help="empty: the latest")


def main():
    """Make a copy, write its report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["drill", "clone"])
    parser.add_argument(
        "--directory",
        type=pathlib.Path,
        required=True,
        help="for the copy; must not exist, or hold a former copy",
    )
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="PostgreSQL's bin directory")
    parser.add_argument("--port", type=int, required=True, help="of the copy's socket")
    parser.add_argument("--report", type=pathlib.Path, required=True, help="the JSON file")
    parser.add_argument(
        "--margin", type=float, default=120, help="drill: seconds until WAL is in the repository"
    )
    parser.add_argument(
        "--repositories", type=int, nargs="+", default=[1], help="pgBackRest's indexes; each day the next one"
    )
    add_target(parser)
    options = parser.parse_args()
    repository = turn(options.repositories, time.time())
    copy = Copy(options.directory, options.programs, options.port, repository)
    if options.what == "drill":
        return write(options.report, drill(copy, options.margin))
    target = Target(options.kind, options.value, options.timeline)
    return write(options.report, clone(copy, options.backup, target))


if __name__ == "__main__":
    sys.exit(main())
