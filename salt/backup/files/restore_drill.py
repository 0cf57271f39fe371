# Managed by Salt (salt/backup).
"""
Prove that the backups can be restored: restore to a random moment of the last day, check it, measure it, remove it.

Runs as postgres, by fanatico-backup-drill.timer, with Salt on or off. The result is a JSON file, which health reads.
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
PORT = 5499
READY = 600  # seconds until the copy must be promoted
HEARTBEAT = "SELECT extract(epoch FROM max(at)) FROM heartbeat"
LOST = 60  # seconds before the target that the last heartbeat may be


class DrillError(Exception):
    """The drill has failed; the message is the reason."""


def run(*argv, timeout=None):
    """Run a program and return what it printed. Raises DrillError with its message."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise DrillError(f"{pathlib.Path(argv[0]).name} failed with code {done.returncode}: {why}")
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

    The moment is a random one of the last day that a backup reaches. Raises DrillError without a backup.
    """
    good = [backup for backup in backups if not backup["error"]]
    if not good:
        raise DrillError("there is no backup without errors")
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

    def __init__(self, directory, programs):
        self.data, self.programs = directory / "data", programs
        self.socket = directory

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
        settings = {
            "listen_addresses": "",
            "port": PORT,
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
                    raise DrillError(f"the copy was not promoted within {READY} s")
                time.sleep(0.2)
        except DrillError as exc:
            fatal = (
                [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line]
                if log.exists()
                else []
            )
            raise DrillError(f"{exc}; {fatal[-1]}" if fatal else str(exc)) from exc

    def ask(self, sql, database="postgres"):
        """Return the answer to a query with one value."""
        where = ["-h", self.socket, "-p", str(PORT), "-d", database]
        return run(self.programs / "psql", "-XAtq", *where, "-c", sql, timeout=60).strip()

    def check(self):
        """Check every table and index of every database."""
        where = ["-h", self.socket, "-p", str(PORT)]
        run(self.programs / "pg_amcheck", *where, "--all", "--install-missing", "--heapallindexed")

    def stop(self):
        """Stop the server, whatever its state."""
        if (self.data / "postmaster.pid").exists():
            subprocess.run(
                [self.programs / "pg_ctl", "-D", self.data, "-s", "-m", "immediate", "stop"],
                check=False,
                timeout=120,
            )


def drill(directory, programs, margin):
    """Run the drill and return its report; a failure is in ``error``."""
    report = {"began": time.time(), "error": ""}
    copy = Copy(directory, programs)
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        (stanza,) = json.loads(
            run(
                "/usr/bin/pgbackrest",
                f"--stanza={STANZA}",
                "--log-level-console=off",
                "info",
                "--output=json",
            )
        )
        backups = [
            {"label": one["label"], "stop": one["timestamp"]["stop"], "error": one.get("error")}
            for one in stanza["backup"]
        ]
        report["backup"], report["target"] = choose(backups, time.time(), margin)
        for name, step in (
            ("restore", lambda: copy.restore(report["backup"], report["target"])),
            ("recovery", copy.start),
            ("check", copy.check),
        ):
            begun = time.monotonic()
            step()
            report[f"{name}_seconds"] = round(time.monotonic() - begun, 1)
        report["bytes"] = size(copy.data)
        seen = copy.ask(HEARTBEAT, "fanatico_proof")
        if not seen:
            raise DrillError("the copy has no heartbeat")
        report["behind_seconds"] = round((report["target"] or report["began"]) - float(seen), 1)
        if report["target"] and not 0 <= report["behind_seconds"] <= LOST:
            raise DrillError(
                f"the last heartbeat of the copy is {report['behind_seconds']} s before the target"
            )
    except (DrillError, OSError, ValueError, KeyError, subprocess.SubprocessError) as exc:
        report["error"] = str(exc) or type(exc).__name__
    finally:
        copy.stop()
        shutil.rmtree(directory, ignore_errors=True)
    report["seconds"] = round(time.time() - report["began"], 1)
    return report


def main():
    """Run the drill, write its report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--directory", type=pathlib.Path, required=True, help="for the copy; its content is deleted"
    )
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="PostgreSQL's bin directory")
    parser.add_argument("--report", type=pathlib.Path, required=True, help="the JSON file")
    parser.add_argument("--margin", type=float, required=True, help="seconds until WAL is in the repository")
    options = parser.parse_args()
    report = drill(options.directory, options.programs, options.margin)
    new = options.report.with_suffix(".new")
    new.write_text(json.dumps(report) + "\n")
    new.replace(options.report)
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
