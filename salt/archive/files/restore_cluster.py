# Managed by Salt (salt/archive).
"""
The databases of this host, replaced by what they were at a moment. Steps of orch.restore and orch.restore_undo, as postgres.

``restore`` fills the data directory from the repository and starts PostgreSQL there, away from Patroni and from clients, until
the target is reached. Then PostgreSQL is stopped, or stays for a person. ``finish`` ends that. ``reopen`` gives former data a
timeline that the restored cluster has not used.
"""

import argparse
import pathlib
import sys
import time

import restored_copy
from restored_copy import CopyError, Target

LONG = 3600  # seconds for a checkpoint, a stop, a promotion
GET = f'/usr/bin/pgbackrest --stanza={restored_copy.STANZA} archive-get %f "%p"'
# pgBackRest and ``reopen`` set them; the next start by Patroni must not find them.
_RECOVERY = (
    "restore_command",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
)


class Cluster(restored_copy.Copy):
    """The data directory of this host while Patroni does not run."""

    def __init__(self, data, socket, programs, port):
        self.data, self.socket, self.programs, self.port = data, socket, programs, port
        self.log, self.repository = socket / "server.log", None
        # While it exists, the data directory has nothing that cannot be restored once more.
        self.mark = data.with_name(f"{data.name}.restoring")

    def create(self):
        """Prepare the data directory. Raises CopyError if it has data that this program did not restore."""
        if self.mark.exists():
            self.stop()
        elif any(self.data.iterdir()):
            raise CopyError(f"{self.data} has data. Nothing was changed")
        self.mark.touch(mode=0o600)

    def restore(self, label, target):
        """Restore a backup into the data directory; what an earlier attempt left is replaced."""
        self.fetch(label, target, *(["--delta"] if any(self.data.iterdir()) else []))

    def settings(self):
        """Return settings for a server whose WAL is archived later, by Patroni's."""
        # 126 ends the archiver: it does not try again. What waits is archived once the restored cluster serves.
        return {"archive_mode": "on", "archive_command": "exit 126", "primary_conninfo": ""}

    def recover(self, look):
        """Start the server and wait until it is promoted at the target; a person can only read."""
        # Not a pause at the target: there, locks of the transaction that is not restored would make a reader wait for ever.
        readers = {"default_transaction_read_only": "on"} if look else {}
        self.launch({**self.settings(), "hot_standby": "off", **readers})
        self.wait("to be promoted", self.promoted)

    def close(self):
        """Forget the target, and stop a server that is promoted."""
        for name in _RECOVERY:
            self.ask(f"ALTER SYSTEM RESET {name}")
        self.ask("CHECKPOINT", timeout=LONG)
        self.halt()

    def halt(self):
        """Stop the server cleanly."""
        where = ["-D", self.data, "-s", "-w", "-t", str(LONG), "-m", "fast"]
        restored_copy.run(self.programs / "pg_ctl", *where, "stop")


def restore(cluster, label, target, look):
    """Restore, recover, and return the report; for a look, the server goes on."""
    report = {"began": time.time(), "error": "", "backup": label, "state": "failed"}
    try:
        cluster.create()
        restored_copy.timed(report, "restore", lambda: cluster.restore(label, target))
        restored_copy.timed(report, "recovery", lambda: cluster.recover(look))
        report["bytes"] = restored_copy.size(cluster.data)
        report["reached"] = reached(cluster)
        if look:
            report["state"] = "looking"
        else:
            cluster.close()
            report["state"] = "stopped"
    except restored_copy.FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
        cluster.stop()
    report["seconds"] = round(time.time() - report["began"], 1)
    return report


def reached(cluster):
    """Return the time of the last heartbeat in the restored data, in seconds since 1970; None without one."""
    try:
        return float(cluster.ask(restored_copy.HEARTBEAT, "fanatico_proof"))
    except (CopyError, ValueError):
        return None


def finish(cluster):
    """Stop the server that a person looks at, and return the report."""
    report = {"began": time.time(), "error": "", "state": "failed"}
    try:
        if not cluster.runs():  # its host was rebooted
            cluster.launch(cluster.settings())
            cluster.wait("to be promoted", cluster.promoted)
        cluster.close()
        report["state"] = "stopped"
    except restored_copy.FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
    return report


def reopen(cluster):
    """
    Promote the data of a primary that was stopped, to a timeline after all whose history is in its pg_wal; return the report.

    Without that, Patroni would promote it to a timeline that the repository has already, with other content.
    """
    report = {"began": time.time(), "error": "", "state": "failed"}
    try:
        if cluster.runs():
            cluster.halt()
        (cluster.data / "standby.signal").touch(mode=0o600)
        # PostgreSQL looks into the repository, too, which timelines there are.
        own = {"hot_standby": "on", "recovery_target_timeline": "current", "restore_command": GET}
        cluster.launch({**cluster.settings(), **own})
        cluster.ask(f"SELECT pg_promote(true, {LONG})", timeout=LONG + 10)
        cluster.wait("to be promoted", lambda: cluster.ask("SELECT pg_is_in_recovery()") == "f")
        cluster.close()
        report["state"] = "stopped"
    except restored_copy.FAILURES as exc:
        report["error"] = str(exc) or type(exc).__name__
        cluster.stop()
    return report


def main():
    """Run one step, write its report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["restore", "finish", "reopen"])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the data directory")
    parser.add_argument("--socket", type=pathlib.Path, required=True, help="the directory of the socket")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="PostgreSQL's bin directory")
    parser.add_argument("--port", type=int, required=True, help="of the socket")
    parser.add_argument("--report", type=pathlib.Path, required=True, help="the JSON file")
    parser.add_argument(
        "--look", default="", help="restore: yes, if a person looks at the target before it serves"
    )
    restored_copy.add_target(parser)
    options = parser.parse_args()
    cluster = Cluster(options.data, options.socket, options.programs, options.port)
    if options.what == "restore":
        target = Target(options.kind, options.value, options.timeline)
        report = restore(cluster, options.backup, target, options.look == "yes")
    else:
        report = {"finish": finish, "reopen": reopen}[options.what](cluster)
    return restored_copy.write(options.report, report)


if __name__ == "__main__":
    sys.exit(main())
