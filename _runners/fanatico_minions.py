"""
The minions: are they there?
"""

import pathlib
import time

__virtualname__ = "fanatico"

_SWEEP = 3  # seconds each test.ping has


def __virtual__():
    return __virtualname__


def wait_minions(timeout=60, ids=None):
    """
    Wait until every minion of the plan answers, and return their ids.

    timeout
        Seconds.
    ids
        The minions awaited; all of the plan without them.

    Raises when the time is over, naming each missing host, what is known of it, and what to do next.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.wait_minions timeout=30
    """
    if ids is None:
        ids = __utils__["fanatico_plan.nodes"](__utils__["fanatico_master.plan"](__opts__))
    missing, deadline = list(ids), time.monotonic() + timeout
    while missing:
        began = time.monotonic()
        # Salt prints a complaint for a target without a single accepted key.
        known = [name for name in missing if _key("minions", name).exists()]
        answers = __utils__["fanatico_sweep.ask"](
            __opts__, known, "test.ping", (), max(1.0, min(_SWEEP, deadline - began))
        )
        missing = [name for name in missing if answers.get(name) is not True]
        if missing and time.monotonic() >= deadline:
            reasons = "".join(f"\n  - {name}: {_why(name)}" for name in missing)
            __utils__["fanatico_master.refuse"](
                f"Waited {timeout:g} s for {len(ids)} minions, no answer from {len(missing)}:{reasons}"
            )
        if missing:
            time.sleep(max(0.0, began + 0.5 - time.monotonic()))
    return list(ids)


def _key(folder, name):
    return pathlib.Path(__opts__["pki_dir"], folder, name)


def _why(name):
    """Return what the master knows of a minion that does not answer, and what to do next."""
    if _key("minions_pre", name).exists():
        return f"its key waits; compare with `salt-call --local key.finger` there, then `salt-key -a {name}`"
    if _key("minions", name).exists():
        return (
            "its key is accepted; is the host up, is its salt-minion running (systemctl status salt-minion)?"
        )
    return "it never sent a key; is salt-minion installed there, and pointed at this master?"
