"""
The firewall of this node, as the plan wants it.
"""

import difflib

from salt.exceptions import CommandExecutionError


def loaded(name, timeout=10):
    """
    Have exactly the rules that follow from the plan in force; the old ones come back if the master is lost with them.

    name
        Only a name.
    timeout
        Seconds in which the master must be reached through new rules.
    """
    answer = {"name": name, "result": True, "comment": "The rules are in force", "changes": {}}
    try:
        state = __salt__["fanatico_firewall.state"]()
        if state in ("none", "outdated"):
            before, after = __salt__["fanatico_firewall.present"](), __salt__["fanatico_firewall.wanted"]()
            diff = difflib.unified_diff(
                before.splitlines(), after.splitlines(), "present", "wanted", lineterm=""
            )
            answer["changes"] = {"rules": "\n".join(diff)}
        elif state == "touched":
            answer["changes"] = {"rules": "loaded again: what the kernel held was not what had been loaded"}
        if answer["changes"] and __opts__["test"]:
            return {**answer, "result": None, "comment": "The rules would be loaded"}
        if answer["changes"]:
            __salt__["fanatico_firewall.apply"](timeout)
            answer["comment"] = "The rules are loaded, and the master answers through them"
    except CommandExecutionError as exc:
        return {**answer, "result": False, "comment": str(exc), "changes": {}}
    return answer
