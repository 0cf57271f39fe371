"""Check whether a lab is healthy: `fanatico.health` of its machines, and the holder of the virtual IP."""

import json
import time

from lab.errors import LabError

WITHIN = 180  # seconds to wait for a healthy lab, after any change or fault
SOON = 5  # seconds after which a machine that has not answered is asked whether it is still at it, and for its answer to that


def ask(lab, *names):
    """Return {machine: answer of fanatico.health} of the named machines, or of all; silent ones are missing."""
    answers = lab.salt(list(names) or "*", "fanatico.health", patience=SOON)
    return {name: answer for name, answer in answers.items() if isinstance(answer, dict)}


def ailing(answers):
    """Return {machine: {check: status and detail}} of every check that is not ok."""
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


def wait(lab, timeout=WITHIN, awaiting=lambda what: None, names=None):
    """Wait until every machine of the plan is ok and exactly one balancer holds the virtual IP; return the answers.

    A machine that was ok is not asked again until all were: on two cores, asking all machines every second would slow down
    the recovery that is awaited. At the end all are asked at the same time.

    :param timeout: seconds.
    :param awaiting: called with a text that names what is awaited.
    :param names: the machines that are asked, instead of every one.
    :raises LabError: with the machines that do not answer and the checks that are not ok.
    """
    deadline = time.monotonic() + timeout
    every, well, fault = sorted(names or lab.nodes()), {}, ""
    while True:
        asked, begun = [name for name in every if name not in well], time.monotonic()
        try:
            answers = ask(lab, *asked)
        except LabError as error:  # the master may not have started yet
            answers, fault = {}, f" The last request failed: {error}"
        bad = ailing(answers)
        well.update({name: answer for name, answer in answers.items() if name not in bad})
        silent = sorted(set(asked) - set(answers))
        if len(well) == len(every):
            holders = lab.virtual_ip_holders()
            if len(asked) == len(every) and len(holders) == 1:
                return well
            well = {}  # all were ok, but perhaps not at the same time
            bad = bad or {"virtual IP": f"held by {', '.join(holders) or 'no balancer'}"}
        if time.monotonic() > deadline:
            raise LabError(
                f"The lab {lab.name!r} is not healthy after {timeout} s. Silent: {', '.join(silent) or 'none'}. "
                f"Not ok: {json.dumps(bad)}.{fault} "
                f"Check: sudo ./fanatico exec{lab.option()} {lab.master} -- salt-run fanatico.status"
            )
        awaiting(f"{', '.join([*silent, *bad]) or 'all machines at the same time'} to be healthy")
        # While the machines are busy, the answers take seconds, and each costs a fifth of a second of processor time.
        time.sleep(min(2, max(0.5, time.monotonic() - begun)))
