"""
Health of archiving on a database host: WAL on its way to the repository.
"""

import os
import pathlib

import fanatico_backup_checks
import fanatico_pgbackrest
import fanatico_plan
import fanatico_verdict
import fanatico_wait

_STATUS = f"{fanatico_pgbackrest.SPOOL}/archive/{fanatico_pgbackrest.STANZA}/out"
_ARCHIVER = """
    SELECT pg_is_in_recovery() AS in_recovery,
           extract(epoch FROM now() - a.last_archived_time)::int AS archived_age,
           CASE WHEN a.last_failed_time > coalesce(a.last_archived_time, '-infinity')
                THEN extract(epoch FROM now() - a.last_failed_time)::int END AS failed_age,
           r.waiting, r.waiting_age, r.waiting_recent, pg_size_bytes(current_setting('wal_segment_size')) AS segment
      FROM pg_stat_archiver AS a,
           (SELECT count(*)::int AS waiting, extract(epoch FROM now() - min(modification))::int AS waiting_age,
                   (count(*) FILTER (WHERE modification > now() - interval '10 min'))::int AS waiting_recent
              FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS r
"""


def probe(timeout: float = 2) -> dict:
    """
    Probe archiving on this host once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_archive.probe
    """
    plan, me = __pillar__["plan"], __opts__["id"]
    if not fanatico_plan.has_role(plan, me, "patroni"):
        return {"facts": {}, "checks": {}}
    hosts = fanatico_plan.nodes(plan, "backup")
    probes = {"archiver": lambda: _archiver(timeout)}
    probes |= {
        host: (lambda host=host: __salt__["fanatico_backup.reachable"](host, timeout)) for host in hosts
    }
    answers = fanatico_wait.gather(probes, timeout * 1.5)
    facts, error = answers.pop("archiver")
    facts = facts if error is None else {"error": str(error)}
    settings = fanatico_plan.setting(__pillar__, "backup")
    limit = settings["archive_timeout"]
    found = {"archive.push": fanatico_backup_checks.archiving(facts, me, bool(hosts), limit)}
    if hosts:
        found["archive.repository"] = _repository(answers)
        space = fanatico_backup_checks.space(
            facts, limit, settings["wal_left"], settings["wal_left_critical"]
        )
        found |= {"archive.space": space} if space else {}
    return {"facts": facts, "checks": found}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of archiving on this host, ``{name: check}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_archive.checks
    """
    return probe(timeout)["checks"]


def _archiver(timeout):
    facts = __salt__["fanatico_postgres.query"](_ARCHIVER, timeout=timeout)[0]
    wal = pathlib.Path(__salt__["fanatico_postgres.wanted"]()["data_dir"]) / "pg_wal"
    disk = os.statvfs(wal)
    return {**facts, "free": disk.f_bavail * disk.f_frsize, "reason": _reason()}


def _reason():
    """Return why pgBackRest could not send the last segment that it tried; empty if it could."""
    failed = []
    for path in pathlib.Path(_STATUS).glob("*.error"):
        try:
            failed.append((path.stat().st_mtime, path.read_text(encoding="utf-8", errors="replace")[:2000]))
        except FileNotFoundError:
            continue  # sent meanwhile
    text = max(failed)[1] if failed else ""
    return fanatico_backup_checks.reason(text, fanatico_pgbackrest.repositories(__pillar__))


def _repository(answers):
    """Return the check whether this host reaches the repositories; ``answers``: ``{host: (value, exception or None)}``."""
    failed = {host: str(error) for host, (_, error) in answers.items() if error is not None}
    if failed:
        hint = f"salt -L {','.join(failed)} fanatico.health; on each: systemctl status pgbackrest"
        detail = "; ".join(failed.values())
        return fanatico_verdict.degraded(
            sorted(failed), f"{detail}. WAL waits on the primary meanwhile", hint
        )
    return fanatico_verdict.ok(sorted(answers), f"reaches {', '.join(sorted(answers))}")
