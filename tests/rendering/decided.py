"""What the runners decide that orchestrations ask before their first step."""

import fanatico_plan


def scope(*roles, unsettled=False):
    """A result of `fanatico.evict_scope` for a host with these roles that is no longer a node of the plan."""
    return {
        "host": "db9",
        "roles": list(roles),
        "secrets": fanatico_plan.secret_names(roles),
        "certificates": True,
        "unsettled": {"secrets": unsettled, "authorities": unsettled},
    }


def restores(databases):
    """Results of the runners that decide a restore of the cluster, with a person who looks in between."""
    restore = {"kind": "time", "value": "1800000000.0", "timeline": 0, "backup": "20261130-155731F"}
    journal = {
        **{"phase": "begun", "target": "2027-01-15 08:00:00+00", "restore": restore, "backup_host": "ops1"},
        **{"host": databases[0], "hosts": databases, "order": databases, "leader": databases[0]},
        **{"undo": databases[0], "before": 3, "look": False},
    }
    state = {
        "held": False,
        "restoring": False,
        "undo": ["/data.undo-1"],
        "undone": [],
        "data": True,
        "configured": True,
        "free": 1,
    }
    answers = {"states": dict.fromkeys(databases, state), "ends": {}}
    return {
        "fanatico.restore_scope": {"journal": journal, **answers},
        "fanatico.restore_open": {"journal": {**journal, "phase": "looking"}, **answers},
    }
