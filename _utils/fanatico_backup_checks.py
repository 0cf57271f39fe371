"""
Health checks of backups and of archiving, from what pgBackRest and PostgreSQL report. No I/O.
"""

import re

import fanatico_verdict

# The codes of `pgbackrest info`.
OK, NO_STANZA, NO_BACKUP = 0, (1, 3), 2
_LATE = 5  # intervals of archive_timeout until WAL that waits counts as late


def read(stanzas):
    """
    Return what ``pgbackrest info --output=json`` reports of our stanza.

    stanzas
        The parsed JSON.

    ``{"code", "message", "backups": [{"label", "type", "start", "stop": seconds since 1970, "size", "stored": bytes, "error",
    "lsn": its end}], "archive": {"min", "max"} or {}}``, oldest backup first.
    """
    if not stanzas:
        return {"code": NO_STANZA[0], "message": "missing stanza path", "backups": [], "archive": {}}
    stanza = stanzas[0]
    archives = [entry for entry in stanza.get("archive", []) if entry.get("max")]
    newest = archives[-1] if archives else {}
    return {
        "code": stanza["status"]["code"],
        "message": stanza["status"]["message"],
        "backups": [_backup(entry) for entry in stanza.get("backup", [])],
        "archive": {key: newest[key] for key in ("min", "max") if key in newest},
    }


def _backup(entry):
    times, info = entry["timestamp"], entry.get("info", {})
    return {
        "label": entry["label"],
        "type": entry["type"],
        "start": times["start"],
        "stop": times["stop"],
        "size": info.get("size", 0),
        "stored": info.get("repository", {}).get("delta", 0),
        "error": bool(entry.get("error")),
        "lsn": (entry.get("lsn") or {}).get("stop", ""),
    }


_SEGMENT = re.compile(r"(?:.*/)?[0-9A-F]{24}-[0-9a-f]{40}(?:\.[a-z0-9]+)?")


def newest(files):
    """
    Return the time at which the last segment of WAL arrived, in seconds since 1970; None without any.

    files
        ``{path: {"time": seconds since 1970, ...}}``.
    """
    return max((file["time"] for path, file in files.items() if _SEGMENT.fullmatch(path)), default=None)


def repository(facts, me, settings, now):
    """
    Return the checks of the repository on ``me``, ``{name: check}``.

    facts
        ``{"info": what read returned, "drill": report of the last restore drill or None}``, or ``{"error": reason}``.
    settings
        The pillar's ``backup``.
    now
        Seconds since 1970.
    """
    if "error" in facts:
        hint = f"salt {me} fanatico_backup.info; journalctl -u pgbackrest -n 50"
        return {"backup.repository": fanatico_verdict.critical(None, facts["error"], hint)}
    info = facts["info"]
    code, backups = info["code"], info["backups"]
    if code not in (OK, NO_BACKUP):
        hint = f"salt {me} state.apply backup"
        return {
            "backup.repository": fanatico_verdict.critical(code, f"the repository: {info['message']}", hint)
        }
    span = f", WAL up to {info['archive']['max']}" if info["archive"] else ", no WAL yet"
    return {
        "backup.repository": fanatico_verdict.ok(len(backups), f"{len(backups)} backups{span}"),
        "backup.last": _last(backups, me, settings, now),
        "backup.drill": _drill(facts["drill"], backups, me, settings, now),
    }


def _last(backups, me, settings, now):
    """Return the check of the age of the last backup, and of the last full backup."""
    hint = f"systemctl list-timers 'fanatico-backup-*'; salt {me} fanatico_backup.make full"
    good = [backup for backup in backups if not backup["error"]]
    fulls = [backup for backup in good if backup["type"] == "full"]
    if not fulls:
        return fanatico_verdict.degraded(None, "there is no full backup yet", hint)
    last, full = good[-1], fulls[-1]
    age, full_age = now - last["stop"], now - full["stop"]
    detail = f"last: {last['label']}, {_hours(age)} ago; last full: {_hours(full_age)} ago"
    if backups[-1]["error"]:
        return fanatico_verdict.degraded(
            age, f"{backups[-1]['label']} has page checksum errors; {detail}", hint
        )
    if age > settings["max_age"] or full_age > settings["max_age_full"]:
        return fanatico_verdict.degraded(age, detail, hint)
    return fanatico_verdict.ok(age, detail)


def _drill(report, backups, me, settings, now):
    """Return the check of the last restore drill; before the first, it is due as long after the oldest backup."""
    hint = f"journalctl -u fanatico-backup-drill -n 50; salt {me} fanatico_backup.drill"
    if report is None:
        if backups and now - backups[0]["stop"] > settings["max_age_drill"]:
            return fanatico_verdict.degraded(None, "no backup was ever restored to prove it", hint)
        return fanatico_verdict.ok(None, "the first restore drill is due within a day")
    age = now - report["began"]
    if report["error"]:
        return fanatico_verdict.degraded(
            age, f"the restore drill failed {_hours(age)} ago: {report['error']}", hint
        )
    size, seconds = report["bytes"] / 1024**2, report["restore_seconds"] + report["recovery_seconds"]
    detail = f"{_hours(age)} ago: {size:.0f} MiB restored in {seconds:.1f} s, {report['behind_seconds']} s before its target"
    judge = fanatico_verdict.degraded if age > settings["max_age_drill"] else fanatico_verdict.ok
    return judge(age, detail, hint if judge is fanatico_verdict.degraded else "")


def _hours(seconds):
    return f"{seconds / 3600:.1f} h"


def archiving(facts, me, has_repository, archive_timeout):
    """
    Return the check of archiving on a database host.

    facts
        What ``fanatico_archive`` asked PostgreSQL, or ``{"error": reason}``.
    has_repository
        Whether the plan has a backup host.
    archive_timeout
        Seconds.
    """
    if not has_repository:
        return fanatico_verdict.ok(None, "the plan has no host with the role backup: nothing is archived")
    if "error" in facts:
        return fanatico_verdict.unknown(None, facts["error"], f"salt {me} fanatico_patroni.status")
    if facts["in_recovery"]:
        return fanatico_verdict.ok(0, "a replica: the primary archives")
    waiting, age = facts["waiting"], facts["waiting_age"] or 0
    detail = f"{waiting} segments of WAL wait to be archived, the oldest for {age} s"
    if age > _LATE * archive_timeout:
        failed = (
            f"; the last attempt failed {facts['failed_age']} s ago"
            if facts["failed_age"] is not None
            else ""
        )
        hint = f"salt {me} fanatico_backup.check; tail /var/log/pgbackrest/*.log"
        return fanatico_verdict.degraded(waiting, f"{detail}{failed}", hint)
    last = "none yet" if facts["archived_age"] is None else f"{facts['archived_age']} s ago"
    return fanatico_verdict.ok(waiting, f"last segment archived: {last}; {waiting} wait")


def restoring(facts):
    """
    Return the check whether a restore of the cluster has ended on a database host.

    facts
        What ``fanatico_restore_files.state`` returned.
    """
    hint = "salt-run fanatico.restore_state"
    if facts["held"]:
        return fanatico_verdict.critical(
            "held", "Patroni is held: a restore of the cluster has not ended", hint
        )
    kept = [*facts["undo"], *facts["undone"]]
    if kept:
        detail = f"the data of before a restore are kept in {', '.join(kept)}, until it is accepted or undone"
        return fanatico_verdict.degraded(kept, detail, hint)
    return fanatico_verdict.ok(None, "no restore is open")
