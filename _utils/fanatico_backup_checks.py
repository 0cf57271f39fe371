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
    # Of the stanza it is only "other"; one repository was asked.
    status = next(
        (one["status"] for one in stanza.get("repo", []) if one["status"]["code"]), stanza["status"]
    )
    return {
        "code": stanza["status"]["code"],
        "message": _plain(status["message"], 500),
        "backups": [_backup(entry) for entry in stanza.get("backup", [])],
        "archive": {key: newest[key] for key in ("min", "max") if key in newest},
    }


def _plain(text, most=None):
    """Return a text as one line of printable ASCII; pgBackRest shows bytes that it could not decrypt."""
    return " ".join("".join(c if " " <= c <= "~" else " " for c in text).split())[:most]


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
        ``{"info": what read returned, or "error": reason, "drill": report of the last restore drill or None, "lost": why the
        repository is not the one that was created, "writable", "s3": {"info" or "error"}, "wal_to_s3"}``; the last two with S3.
    settings
        The pillar's ``backup``.
    now
        Seconds since 1970.
    """
    found = {"backup.repository": _readable(facts, me, settings)}
    if found["backup.repository"]["status"] == "ok":
        backups = facts["info"]["backups"]
        found["backup.last"] = _last(backups, me, settings, now)
        found["backup.drill"] = _drill(facts["drill"], backups, me, settings, now)
    return found | (_s3(facts, me, settings, now) if "s3" in facts else {})


def _readable(facts, me, settings):
    """Return the check of the local repository, without the age of what is in it."""
    if facts.get("lost"):
        return fanatico_verdict.critical(None, facts["lost"], f"mount it; salt {me} state.apply backup")
    if not facts.get("writable", True):
        text = f"{settings['path']} cannot be written to"
        return fanatico_verdict.critical(None, text, f"findmnt -T {settings['path']} on {me}; dmesg")
    if "error" in facts:
        return fanatico_verdict.critical(None, facts["error"], _advice(facts["error"], me))
    code, message = facts["info"]["code"], facts["info"]["message"]
    if code in (OK, NO_BACKUP):
        return fanatico_verdict.ok(len(facts["info"]["backups"]), _content(facts["info"]))
    hint = f"salt {me} state.apply backup" if code in NO_STANZA else _advice(message, me)
    return fanatico_verdict.critical(code, f"the repository: {message}", hint)


def _content(info):
    span = f", WAL up to {info['archive']['max']}" if info["archive"] else ", no WAL yet"
    return f"{len(info['backups'])} backups{span}"


_PASSPHRASE = "the passphrase may not be that of the repository: docs/backup.md#the-passphrase"
# The class of pgBackRest's error, and the next step.
_ADVICE = {
    **dict.fromkeys(("CryptoError", "FormatError"), _PASSPHRASE),
    "PathOpenError": "look at the owner of backup:path; salt {me} state.apply backup",
}


def _advice(message, me):
    """Return the next step for an error of pgBackRest."""
    known = (step.format(me=me) for kind, step in _ADVICE.items() if f"[{kind}]" in message)
    return next(known, f"salt {me} fanatico_backup.info; journalctl -u pgbackrest -n 50")


def _s3(facts, me, settings, now):
    """Return the checks of the repository in S3. Without it the backups are still there, in the local one: never critical."""
    asked = f"salt {me} fanatico_backup.info repository=s3"
    answer = facts["s3"]
    if "error" in answer:
        return {
            "backup.bucket": fanatico_verdict.degraded(None, f"S3: {answer['error']}", asked),
            "backup.bucket_wal": _sending(facts.get("wal_to_s3"), me, settings, now),
        }
    info, sending = answer["info"], _sending(facts.get("wal_to_s3"), me, settings, now)
    if info["code"] not in (OK, NO_BACKUP):
        hint = f"salt {me} state.apply backup" if info["code"] in NO_STANZA else asked
        return {"backup.bucket": fanatico_verdict.degraded(info["code"], f"S3: {info['message']}", hint)}
    return {
        "backup.bucket": fanatico_verdict.ok(len(info["backups"]), _content(info)),
        "backup.bucket_wal": sending,
        "backup.bucket_last": _last(info["backups"], me, settings, now, " s3"),
    }


def _sending(state, me, settings, now):
    """Return the check of the WAL on its way from the local repository to S3."""
    hint = f"salt {me} fanatico_backup.wal_to_s3; journalctl -u fanatico-backup-s3-wal -n 50"
    if state is None:
        return fanatico_verdict.unknown(None, "no WAL was sent to S3 yet", hint)
    limit = _LATE * settings["archive_timeout"]
    age = now - (state["oldest"] or now)
    why = f": {state['error']}" if state["error"] else ""
    if now - state["at"] > limit:
        return fanatico_verdict.degraded(
            None, f"WAL is not sent to S3 since {_hours(now - state['at'])}{why}", hint
        )
    if age > limit or state["error"]:
        text = f"{state['waiting']} files of WAL wait for S3, the oldest for {age:.0f} s{why}"
        return fanatico_verdict.degraded(state["waiting"], text, hint)
    return fanatico_verdict.ok(state["waiting"], f"{state['waiting']} files of WAL wait for S3")


def _last(backups, me, settings, now, which=""):
    """Return the check of the age of the last backup, and of the last full backup."""
    hint = f"systemctl list-timers 'fanatico-backup-*'; salt {me} fanatico_backup.make full{which}"
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
        What ``fanatico_archive`` asked PostgreSQL, with ``reason``, the last error of pgBackRest; or ``{"error": reason}``.
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
    # A backup host that restarts is no fault: an attempt may fail for as long as a segment may wait.
    if age > (_LATE if facts["failed_age"] is None else 1) * archive_timeout:
        failed = (
            f"; the last attempt failed {facts['failed_age']} s ago"
            if facts["failed_age"] is not None
            else ""
        )
        why = f": {facts['reason']}" if facts.get("reason") else ""
        hint = "docs/backup.md#faults-of-a-repository; tail /var/log/pgbackrest/*.log"
        return fanatico_verdict.degraded(waiting, f"{detail}{failed}{why}", hint)
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


_RECENT = 600  # seconds


def space(facts, archive_timeout, early, late):
    """
    Return the check how long the disk of the WAL lasts while archiving is stopped; None where that cannot be told.

    facts
        As for ``archiving``, with ``segment``, ``free`` (bytes) and ``waiting_recent``: those of the last ten minutes.
    archive_timeout
        Seconds.
    early, late
        Seconds left below which it is degraded, and critical.

    WAL is never dropped: at the end PostgreSQL stops, and Patroni makes a replica the primary, whose disk then fills.
    """
    if "error" in facts or facts["in_recovery"]:
        return None
    waiting, age = facts["waiting"], facts["waiting_age"] or 0
    stopped = facts["failed_age"] is not None and age > archive_timeout
    if not waiting or not (stopped or age > _LATE * archive_timeout):
        return fanatico_verdict.ok(None, f"{facts['free'] // 1024**2} MiB free, archiving keeps up")
    rate = max(waiting / max(1, age), facts["waiting_recent"] / max(1, min(age, _RECENT))) * facts["segment"]
    left = int(facts["free"] / rate)
    detail = f"WAL that waits grows by {rate * 3600 / 1024**2:.0f} MiB per hour and fills the disk in {_hours(left)}"
    hint = "docs/backup.md#the-disk-of-the-primary"
    judge = (
        fanatico_verdict.critical
        if left < late
        else fanatico_verdict.degraded
        if left < early
        else fanatico_verdict.ok
    )
    return judge(left, detail, "" if judge is fanatico_verdict.ok else hint)


_NOISE = r"raised from \S+( tls)? protocol( on '[^']*')?: |archive-push command encountered error\(s\): "


def reason(text, repositories):
    """
    Return the error of an asynchronous archive-push as one line of at most 300 characters, empty without one.

    text
        The content of pgBackRest's status file: the code, then the message.
    repositories
        ``[{"index", "host", "name"}]``: they are named instead of numbered.
    """
    words = re.sub(_NOISE, "", _plain(text.partition("\n")[2]))
    for one in repositories:
        words = re.sub(rf"\brepo{one['index']}: ", f"repository {one['name']} of {one['host']}: ", words)
    return words[:300]
