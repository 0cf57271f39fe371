"""
The firewall rules of this node, derived from the plan.
"""

import difflib

from salt.exceptions import CommandExecutionError


def loaded(name, timeout=10):
    """
    Ensure that exactly the rules of the plan are in force. New rules are rolled back if the master is not reachable with them.

    name
        Any text; it is only shown.
    timeout
        Seconds in which the master must answer through the new rules.
    """
    answer = {"name": name, "result": True, "comment": "the rules are in force", "changes": {}}
    try:
        state = __salt__["fanatico_firewall.state"]()
        if state in ("none", "outdated"):
            before, after = __salt__["fanatico_firewall.present"](), __salt__["fanatico_firewall.wanted"]()
            diff = difflib.unified_diff(
                before.splitlines(), after.splitlines(), "present", "wanted", lineterm=""
            )
            answer["changes"] = {"rules": "\n".join(diff)}
        elif state == "touched":
            answer["changes"] = {
                "rules": "loaded again: the rules in the kernel differ from the loaded rules"
            }
        if answer["changes"] and __opts__["test"]:
            return {**answer, "result": None, "comment": "the rules would be loaded"}
        if answer["changes"]:
            __salt__["fanatico_firewall.apply"](timeout)
            answer["comment"] = "the rules are loaded, and the master answers through them"
    except CommandExecutionError as exc:
        return {**answer, "result": False, "comment": str(exc), "changes": {}}
    return answer
