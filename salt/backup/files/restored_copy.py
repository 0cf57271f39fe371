# Managed by Salt (salt/backup).
"""
A copy of the databases as they were at a moment, beside the repository and away from the cluster.

``drill`` proves that the backups can be restored: to a random moment of the last day, checked, measured, removed. It runs every
night, with Salt on or off. ``clone`` keeps the copy for a person. Both run as postgres, and write a report in JSON.
"""

import argparse
import datetime
import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

STANZA = "main"
DAY = 86400
READY = 600  # seconds until the copy must be promoted
HEARTBEAT = "SELECT extract(epoch FROM max(at)) FROM heartbeat"
LOST = 60  # seconds before the target that the last heartbeat may be


class CopyError(Exception):
    """The copy could not be made, or is not what it should be; the message is the reason."""


def run(*argv, timeout=None):
    """Run a program and return what it printed. Raises CopyError with its message."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise CopyError(f"{pathlib.Path(argv[0]).name} failed with code {done.returncode}: {why}")
    return done.stdout


def choose(backups, now, margin, rng=random):
    """
    Return ``(label, target)``: a moment in seconds since 1970, None for the end of the WAL, and the newest backup before it.

    backups
        ``[{"label", "stop", "error"}, ...]``, oldest first.
    now
        Seconds since 1970.
    margin
        Seconds before now from which WAL may not be in the repository yet.

    The moment is a random one of the last day that a backup reaches. Raises CopyError without a backup.
    """
    good = [backup for backup in backups if not backup["error"]]
    if not good:
        raise CopyError("there is no backup without errors")
    first, last = max(good[0]["stop"] + 1, now - DAY), now - margin
    if first >= last:
        return good[-1]["label"], None
    target = rng.uniform(first, last)
    return next(backup["label"] for backup in reversed(good) if backup["stop"] < target), target


def size(directory):
    """Return the size of a directory in bytes."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


class Copy:
    """The restored cluster: a data directory, and a server that only this program reaches."""

    def __init__(self, directory, programs, port):
        self.data, self.programs, self.port = directory / "data", programs, port
        self.socket = directory
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
        """Restore a backup to a moment."""
        self.data.mkdir(mode=0o700)
        where = ["--type=default"]
        if target is not None:
            moment = datetime.datetime.fromtimestamp(target, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            where = ["--type=time", f"--target={moment}", "--target-action=promote"]
        own = [f"--pg1-path={self.data}", "--reset-pg1-host", "--archive-mode=off", f"--set={label}"]
        run(
            "/usr/bin/pgbackrest",
            f"--stanza={STANZA}",
            "--log-level-console=off",
            "--log-level-stderr=error",
            *own,
            *where,
            "restore",
        )

    def start(self):
        """Start the server and wait until it is promoted."""
        # Patroni's configuration, which is restored too, names files of a database host.
        access = self.socket / "pg_hba.conf"
        access.write_text("local all postgres peer\n")
        settings = {
            "hba_file": access,
            "ident_file": self.data / "pg_ident.conf",
            "listen_addresses": "",
            "port": self.port,
            "unix_socket_directories": self.socket,
            "shared_buffers": "64MB",
            "fsync": "off",
            "ssl": "off",
            "archive_mode": "off",
            "synchronous_standby_names": "",
            "log_statement": "none",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self.socket / "server.log"
        try:
            run(
                self.programs / "pg_ctl",
                "-D",
                self.data,
                "-s",
                "-w",
                "-t",
                str(READY),
                "-l",
                log,
                "-o",
                options,
                "start",
            )
            deadline = time.monotonic() + READY
            while self.ask("SELECT pg_is_in_recovery()") != "f":
                if time.monotonic() > deadline:
                    raise CopyError(f"the copy was not promoted within {READY} s")
                time.sleep(0.2)
        except CopyError as exc:
            fatal = (
                [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line]
                if log.exists()
                else []
            )
            raise CopyError(f"{exc}; {fatal[-1]}" if fatal else str(exc)) from exc

    def ask(self, sql, database="postgres"):
        """Return the answer to a query with one value."""
        where = ["-h", self.socket, "-p", str(self.port), "-d", database]
        return run(self.programs / "psql", "-XAtq", *where, "-c", sql, timeout=60).strip()

    def check(self):
        """Check every table and index of every database."""
        where = ["-h", self.socket, "-p", str(self.port)]
        run(self.programs / "pg_amcheck", *where, "--all", "--install-missing", "--heapallindexed")

    def stop(self):
        """Stop the server, whatever its state."""
        if (self.data / "postmaster.pid").exists():
            subprocess.run(
                [self.programs / "pg_ctl", "-D", self.data, "-s", "-m", "immediate", "stop"],
                check=False,
                timeout=120,
            )


def timed(report, name, step):
    """Run a step and note its duration in the report."""
    begun = time.monotonic()
    step()
    report[f"{name}_seconds"] = round(time.monotonic() - begun, 1)


# What a step may raise.
FAILURES = (CopyError, OSError, ValueError, KeyError, subprocess.SubprocessError)


def drill(copy, margin):
    """Run the drill and return its report; a failure is in ``error``."""
    report = {"began": time.time(), "error": ""}
    try:
        copy.create()
        report["backup"], report["target"] = choose(backups(), time.time(), margin)
        timed(report, "restore", lambda: copy.restore(report["backup"], report["target"]))
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


def backups():
    """Return the backups in the repository, ``[{"label", "stop", "error"}, ...]``, oldest first."""
    printed = run(
        "/usr/bin/pgbackrest", f"--stanza={STANZA}", "--log-level-console=off", "info", "--output=json"
    )
    (stanza,) = json.loads(printed)
    return [
        {"label": one["label"], "stop": one["timestamp"]["stop"], "error": one.get("error")}
        for one in stanza["backup"]
    ]


def behind(copy, moment):
    """Return how many seconds before a moment the last heartbeat of the copy is. Raises CopyError if it has none."""
    seen = copy.ask(HEARTBEAT, "fanatico_proof")
    if not seen:
        raise CopyError("the copy has no heartbeat")
    return round(moment - float(seen), 1)


def clone(copy, label, target):
    """Restore a backup to a moment, None for the end of the WAL, keep it running, and return its report."""
    report = {"began": time.time(), "error": "", "backup": label, "target": target}
    try:
        copy.create()
        timed(report, "restore", lambda: copy.restore(label, target))
        timed(report, "recovery", copy.start)
        report["bytes"] = size(copy.data)
        report["behind_seconds"] = behind(copy, target or report["began"])
    except FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
        copy.remove()
    report["seconds"] = round(time.time() - report["began"], 1)
    return report


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
    parser.add_argument("--backup", help="clone: the label of the backup")
    parser.add_argument("--target", default="", help="clone: seconds since 1970; empty: the end of the WAL")
    options = parser.parse_args()
    copy = Copy(options.directory, options.programs, options.port)
    if options.what == "drill":
        report = drill(copy, options.margin)
    else:
        report = clone(copy, options.backup, float(options.target) if options.target else None)
    new = options.report.with_suffix(".new")
    new.write_text(json.dumps(report) + "\n")
    new.replace(options.report)
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
