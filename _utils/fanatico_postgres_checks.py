"""
Health checks of PostgreSQL on a node, from its own status. No I/O.
"""

import fanatico_verdict


def member(facts, me):
    """
    Return the checks of PostgreSQL on ``me``, ``{name: check}``.

    facts
        What ``fanatico_postgres.status`` returned, or ``{"error": reason}``.
    me
        The node's id.
    """
    if "error" in facts:
        hint = f"salt {me} fanatico_patroni.status; journalctl -u patroni -n 50"
        return {"postgres.sql": fanatico_verdict.critical(None, facts["error"], hint)}
    role = "replica" if facts["in_recovery"] else "primary"
    found = {"postgres.sql": fanatico_verdict.ok(role, f"PostgreSQL {facts['version']} answers as {role}")}
    if role == "primary":
        if facts["read_only"]:
            found["postgres.write"] = fanatico_verdict.critical(
                False, "the primary is read-only", "psql: SHOW default_transaction_read_only; df -h"
            )
        elif facts["synchronous_standby_names"] and not facts["sync_standbys"]:
            found["postgres.write"] = fanatico_verdict.critical(
                False,
                "writes stalled: every commit waits, no synchronous standby is connected",
                "salt 'db*' fanatico_patroni.status; restore a replica",
            )
        else:
            found["postgres.write"] = fanatico_verdict.ok(
                True, f"{facts['sync_standbys']} standbys can confirm a commit"
            )
    found["postgres.pages"] = _pages(facts["checksum_failures"], role, me)
    used, limit, full = facts["connections"], facts["max_connections"], facts["full_roles"]
    details = [f"{used} of {limit} connections in use"]
    details += [f"role {name} uses {held} of its {most} connections" for name, (held, most) in full.items()]
    judge = fanatico_verdict.degraded if full or used > 0.9 * limit else fanatico_verdict.ok
    hint = (
        ""
        if judge is fanatico_verdict.ok
        else "close idle clients, or raise max_connections in pillar/postgresql.sls"
    )
    found["postgres.connections"] = judge(used, ", ".join(details), hint)
    return found


def _pages(failures, role, me):
    """Return the check whether a damaged page was read; PostgreSQL counts them since its statistics were last reset."""
    if not failures:
        return fanatico_verdict.ok(0, "no damaged page was read")
    clone = f"salt {me} fanatico_patroni.reinitialize"
    hint = clone if role == "replica" else f"salt {me} fanatico_patroni.switchover any; then {clone}"
    return fanatico_verdict.degraded(failures, f"{failures} damaged pages were read (wrong checksum)", hint)
