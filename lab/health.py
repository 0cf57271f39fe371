"""Whether a lab is healthy: what its machines answer to `fanatico.health`, and who holds the virtual IP."""

import json
import time

from lab.errors import LabError

WITHIN = 180  # seconds, after whatever was done to a lab


def ask(lab, *names):
    """Return {machine: answer of fanatico.health} of those that answered, of all or of those that are named."""
    answers = lab.salt(list(names) or "*", "fanatico.health")
    return {name: answer for name, answer in answers.items() if isinstance(answer, dict)}


def ailing(answers):
    """Return {machine: {check: what it says}} of everything that is not ok."""
    return {
        name: {
            check: f"{found['status']}: {found['detail'] or found['value']}"
            for check, found in answer["checks"].items()
            if found["status"] != "ok"
        }
        or answer["status"]
        for name, answer in answers.items()
        if answer["status"] != "ok"
    }


def wait(lab, timeout=WITHIN, awaiting=lambda what: None):
    """Wait until every machine of the plan answers and is ok and one balancer holds the virtual IP; return the answers.

    Until all were, a machine that was ok is not asked again: on two cores, twelve that are asked every second are what the others
    wait for.

    :param timeout: seconds.
    :param awaiting: called with words about what is awaited.
    :raises LabError: with the machines that do not answer and the checks that are not ok.
    """
    deadline = time.monotonic() + timeout
    every, well, fault = lab.nodes(), {}, ""
    while True:
        asked = [name for name in every if name not in well]
        try:
            answers = ask(lab, *asked)
        except LabError as error:  # the master may not have started yet
            answers, fault = {}, f" The last question failed: {error}"
        bad = ailing(answers)
        well.update({name: answer for name, answer in answers.items() if name not in bad})
        silent = sorted(set(asked) - set(answers))
        if len(well) == len(every):
            holders = lab.virtual_ip_holders()
            if len(asked) == len(every) and len(holders) == 1:
                return well
            well = {}  # were they all at the same time?
            bad = bad or {"virtual IP": f"held by {', '.join(holders) or 'nobody'}"}
        if time.monotonic() > deadline:
            raise LabError(
                f"The lab {lab.name!r} is not healthy within {timeout} s: silent: {', '.join(silent) or 'nobody'}; "
                f"not ok: {json.dumps(bad)}.{fault} Look with `./fanatico exec {lab.master} -- salt-run fanatico.status`."
            )
        awaiting(f"{', '.join([*silent, *bad]) or 'all at the same time'} to be healthy")
        time.sleep(0.5)
