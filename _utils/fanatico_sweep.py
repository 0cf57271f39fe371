"""
One question to many minions, with one deadline. On the master: its runners ask, and its own minion.

``LocalClient.cmd`` asks after a silent minion again and again before it gives it up; a view of the whole cluster has
to stand when a host is dead, and soon.
"""

import time
from typing import Any

import salt.client
import salt.exceptions
import salt.utils.user


def fanout(opts, ids, function, args=(), timeout=5, enough=None):
    """
    Call one function on the minions named and wait for all of them, or for the time to be over.

    opts
        The master's.
    ids
        The minions.
    function
        For example ``fanatico.report``.
    args
        Its positional arguments.
    timeout
        Seconds, for all of them together.
    enough
        Asked every second; where it says yes, what has come so far has to do.

    Returns ``{id: what it returned}``, without those that did not answer in time. A function that raised has
    returned its message as text. An answer counts from whom was asked, and only if nobody else gave another one in its name:
    a minion can answer in the name of others.
    """
    ids, doubtful = list(ids), set()
    answers: dict[str, Any] = {}
    # An orchestration puts the caller's name (Reactor) where the client looks for the owner of its key.
    opts = {**opts, "user": salt.utils.user.get_user()}
    if not ids:
        return answers
    with salt.client.get_local_client(mopts=opts) as client:
        deadline = time.monotonic() + timeout
        try:
            job = client.run_job(ids, function, list(args), tgt_type="list", timeout=timeout, listen=True)
        except salt.exceptions.SaltClientError:
            # The master was too busy to pass the question on: nobody was asked, nobody answered.
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
