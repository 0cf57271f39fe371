"""
What is to be said of PostgreSQL on a node, judged from what it said of itself. No I/O.
"""

import fanatico_verdict


def member(facts, me):
    """Return the checks for what ``status`` said."""
    if "error" in facts:
        hint = f"salt {me} fanatico_patroni.status; journalctl -u patroni -n 50"
        return {"postgres.sql": fanatico_verdict.critical(None, facts["error"], hint)}
    role = "replica" if facts["in_recovery"] else "primary"
    found = {"postgres.sql": fanatico_verdict.ok(role, f"PostgreSQL {facts['version']} answers as {role}")}
    if role == "primary":
        if facts["read_only"]:
            found["postgres.write"] = fanatico_verdict.critical(
                False, "the primary is read-only", "SHOW default_transaction_read_only; free disk space"
            )
        elif facts["synchronous_standby_names"] and not facts["sync_standbys"]:
            found["postgres.write"] = fanatico_verdict.critical(
                False,
                "every commit waits: no synchronous standby is connected",
                "bring a replica back: salt 'db*' fanatico_patroni.status",
            )
        else:
            found["postgres.write"] = fanatico_verdict.ok(
                True, f"{facts['sync_standbys']} standbys can confirm a commit"
            )
    used, limit, full = facts["connections"], facts["max_connections"], facts["full_roles"]
    said = [f"{used} of {limit} connections in use"]
    said += [f"{name} has {held} of its {most}" for name, (held, most) in full.items()]
    judge = fanatico_verdict.degraded if full or used > 0.9 * limit else fanatico_verdict.ok
    hint = (
        ""
        if judge is fanatico_verdict.ok
        else "close idle clients, or raise max_connections in pillar/postgresql.sls"
    )
    found["postgres.connections"] = judge(used, ", ".join(said), hint)
    return found
