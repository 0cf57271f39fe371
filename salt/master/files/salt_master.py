#!/opt/salt/bin/python
"""
The Salt master as it is, but for what a minion may say to it: what our minions need, each in its own name and within a budget.

Salt 3008 knows the sender of every message, and lets him speak for others all the same: an answer may carry the id of another
(``resource_id``), be handed on as a syndic does (``_syndic_return``), or be fired as an event of any tag. There is no setting
against it, so the one place that all messages of minions pass asks ``objection`` first. It also keeps the answer to any job,
of any size, a job that nobody started included: a host that is lost could fill the disk, so ``Answers`` is asked about those.

The master also takes up a tree that has changed without a restart (``Tree``). Salt is started unchanged otherwise.
"""

import functools
import logging
import sys
import threading
import time
from pathlib import Path

import salt.payload

log = logging.getLogger("fanatico.master")

# What minions of ours call. Not: syndics, resources, files sent to the master, runners, a key's own withdrawal.
CALLS = frozenset(
    (
        *("verify_minion", "_master_tops", "_master_opts", "_pillar", "_minion_event", "_return"),
        *("minion_pub", "pub_ret", "_mine", "_mine_get", "_mine_delete", "_mine_flush"),
        *(
            "_serve_file",
            "_file_find",
            "_file_hash",
            "_file_hash_and_stat",
            "_file_list",
            "_file_list_emptydirs",
        ),
        *("_dir_list", "_symlink_list", "_file_envs"),
    )
)
EXPECTED = ("_register_resources",)  # each minion calls it when it connects: refused without a word

# What the answers of a minion may take on the disk: bytes in an hour, by each worker of the master. Salt keeps them for a day.
BUDGET, HOUR = 32 * 1024**2, 3600
LONGEST = 16 * 1024**2  # bytes of an answer: ten times those of the longest highstate
FILES = 16 * 1024  # bytes that the files and folders of an answer take beside its text
STANDALONE = 128 * 1024  # the same where a minion has a job kept that it started itself (salt-call)


def objection(call, load):
    """
    Return why a message of a minion is not taken, as a sentence; empty where it is.

    call
        The function of the master that it asks for.
    load
        What it sends. ``load["id"]`` is who sent it: the channel has compared it with the key.
    """
    if call not in CALLS:
        return f"{call!r:.60} is nothing that a minion of ours asks for"
    if call == "_return" and "resource_id" in load:
        return f"an answer in the name of {load['resource_id']!r:.60}"
    return _of_events(load) if call == "_minion_event" else ""


def _of_events(load):
    sender = load.get("id")
    if load.get("pretag") is not None:
        return "an event with a prefix, as a syndic sends it"
    events = load["events"] if "events" in load else [{"tag": load.get("tag"), "data": None}]
    for event in events if isinstance(events, list) else [None]:
        tag = event.get("tag") if isinstance(event, dict) else None
        own = (f"salt/beacon/{sender}/", f"salt/minion/{sender}/")
        if not isinstance(tag, str) or not (tag == "minion_start" or tag.startswith(own)):
            return f"an event with the tag {tag!r:.60}"
        data = event.get("data", event)
        if isinstance(data, dict) and data.get("id", sender) != sender:
            return f"an event in the name of {data['id']!r:.60}"
    return ""


class Answers:
    """
    Which answers of minions are kept: to a job that the master started and that asked this minion, within the budget.

    asked
        Called with the id of a job: the names of the minions that it asks, None for a job that the master does not have.
    clock
        Seconds, rising.
    """

    def __init__(self, asked, clock=time.monotonic):
        self._asked, self._clock, self._spent = asked, clock, {}

    def objection(self, load, size):
        """Return why an answer of ``size`` bytes is not taken, as a sentence; empty where it is."""
        sender, job = load.get("id"), load.get("jid")
        if size > LONGEST:
            return f"an answer of {size} bytes, more than {LONGEST}"
        if job != "req":
            asked = self._asked(job)
            if asked is None:
                return f"an answer to the job {job!r:.60}, which nobody started"
            if sender not in asked:
                return f"an answer to the job {job!r:.60}, which did not ask it"
        return self._over(sender, size + (STANDALONE if job == "req" else FILES))

    def _over(self, sender, size):
        hour = int(self._clock() // HOUR)
        then, spent = self._spent.get(sender, (hour, 0))
        spent = size + (spent if then == hour else 0)
        if spent > BUDGET:
            return f"answers of more than {BUDGET} bytes within an hour"
        self._spent[sender] = (hour, spent)
        return ""


def asked_by(opts):
    """Return a function for ``Answers``: whom a job asks, by the master's job cache (``salt.returners.local_cache``)."""
    import salt.utils.jid
    from salt.returners import local_cache

    def asked(job):
        if not isinstance(job, str) or not salt.utils.jid.is_jid(job):
            return None
        folder = Path(salt.utils.jid.jid_dir(job, f"{opts['cachedir']}/jobs", opts["hash_type"]))
        try:
            return salt.payload.loads((folder / local_cache.MINIONS_P).read_bytes())
        except FileNotFoundError:
            return None

    return asked


def guard(handlers):
    """Have every message of a minion judged first; raises where Salt's class is not the one that we know."""
    take = handlers.run_func
    unknown = CALLS - set(handlers.expose_methods)
    if unknown:
        raise RuntimeError(
            f"this Salt has no {', '.join(sorted(unknown))}: what its minions may say is not known"
        )

    @functools.wraps(take)
    def run_func(self, func, load):
        reason = objection(func, load)
        if not reason and func == "_return":
            if not hasattr(self, "answers"):
                self.answers = Answers(asked_by(self.opts))
            reason = self.answers.objection(load, len(salt.payload.dumps(load)))
        if not reason:
            return take(self, func, load)
        if func not in EXPECTED:
            log.warning("Refused from %s: %s", load.get("id"), reason)
        return {}, {"fun": "send"}

    handlers.run_func = run_func


class Tree:
    """
    What the tree's modules import (``_utils``, ``_runners/_utils``): on the path, and imported again where a file has changed.

    Salt loads a module from disk whenever it makes a loader, for each pillar that it compiles for example. What such a module
    imports Python has once and for all, so a new module would get the old one, and only in processes that live long. And Salt
    has these folders on the path only while it loads, which two threads of the reactor would take from each other.
    """

    def __init__(self):
        self._known, self._lock = {}, threading.Lock()

    def follow(self, folders):
        """Put folders on the path; where their files are not those of the last call, have all of them imported again."""
        with self._lock:
            sys.path.extend(folder for folder in folders if folder not in sys.path)
            now = {path: stamp for folder in folders for path, stamp in self._stamps(folder)}
            if now != self._known:
                for path in {*now, *self._known}:
                    sys.modules.pop(path.stem, None)
            self._known = now

    @staticmethod
    def _stamps(folder):
        for path in Path(folder).glob("*.py"):
            try:
                yield path, path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # somebody is just bringing in another tree

    def watch(self, loader):
        """Have it followed whenever Salt makes loaders: for each set of them it asks for that of the utils first."""
        make = loader.utils

        @functools.wraps(make)
        def utils(opts, *args, **kwargs):
            self.follow([f"{folder}/_utils" for folder in opts.get("module_dirs", [])])
            return make(opts, *args, **kwargs)

        loader.utils = utils


if __name__ == "__main__":
    import salt.loader
    import salt.scripts

    import salt.master

    guard(salt.master.AESFuncs)
    Tree().watch(salt.loader)
    sys.argv[0] = "/opt/salt/bin/salt-master"
    salt.scripts.salt_master()
