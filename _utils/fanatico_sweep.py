"""
Call one function on many minions with one deadline. For the master: its runners and its own minion.

``LocalClient.cmd`` polls a silent minion several times before it gives up; a view of the cluster must be ready soon even if a
host is down.
"""

import time
from typing import Any

import salt.client
import salt.exceptions
import salt.utils.user


def fanout(opts, ids, function, args=(), timeout=5, enough=None):
    """
    Call one function on several minions and wait for all answers or the timeout.

    opts
        The master's options.
    ids
        The minions.
    function
        For example ``fanatico.report``.
    args
        Its positional arguments.
    timeout
        Seconds for all minions together.
    enough
        A function, called every second; if it returns true, waiting ends with the answers so far.

    Returns ``{id: return value}``, without minions that did not answer in time. If the function raised, the value is the message.
    Two different answers in the name of one minion are both dropped: a minion can answer in the name of others.
    """
    ids, doubtful = list(ids), set()
    answers: dict[str, Any] = {}
    # An orchestration sets the caller's name (Reactor) as the user, by which the client finds its key.
    opts = {**opts, "user": salt.utils.user.get_user()}
    if not ids:
        return answers
    with salt.client.get_local_client(mopts=opts) as client:
        deadline = time.monotonic() + timeout
        try:
            job = client.run_job(ids, function, list(args), tgt_type="list", timeout=timeout, listen=True)
        except salt.exceptions.SaltClientError:
            # The master was too busy to publish the job: no minion was asked.
            return answers
        if not job:
            return answers
        tag = f"salt/job/{job['jid']}/ret/"
        while len(answers) < len(ids):
            left = deadline - time.monotonic()
            if left <= 0 or (enough and enough()):
                break
            wait = min(left, 1) if enough else left
            event = client.event.get_event(wait=wait, tag=tag, match_type="startswith", full=True)
            if not event or "return" not in event["data"]:
                continue
            name, answer = event["data"].get("id"), event["data"]["return"]
            if name in ids and answers.setdefault(name, answer) != answer:
                doubtful.add(name)
    return {name: answer for name, answer in answers.items() if name not in doubtful}
