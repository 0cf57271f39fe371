#!/opt/salt/bin/python
"""
Start the Salt master with a filter for messages of minions: only the calls that our minions need, each in its own name and within
a budget.

Salt 3008 knows the sender of every message, but lets it act for others: a return may carry the ID of another minion
(``resource_id``), be forwarded as a syndic does (``_syndic_return``), or be fired as an event with any tag. There is no setting
against it, so the function that receives all messages calls ``objection`` first. The master would also store returns of any size
and for jobs that were never started: a compromised host could fill the disk, so ``Answers`` checks them.

The master also reloads a changed tree without a restart (``Tree``). Otherwise Salt is started unchanged.
"""

import functools
import logging
import sys
import threading
import time
from pathlib import Path

import salt.payload

log = logging.getLogger("fanatico.master")

# The calls of our minions. Not allowed: syndics, resources, file uploads to the master, runners, revoking the own key.
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
EXPECTED = ("_register_resources",)  # each minion calls it when it connects: refused without a log line

# Disk space for the returns of a minion: bytes in an hour, for each worker of the master. Salt keeps returns for a day.
BUDGET, HOUR = 32 * 1024**2, 3600
LONGEST = 16 * 1024**2  # bytes of a return: ten times the size of the longest highstate
FILES = 16 * 1024  # bytes that the files and directories of a return take beside its text
STANDALONE = 128 * 1024  # the same for a job that a minion started itself (salt-call)


def objection(call, load):
    """
    Return why a message of a minion is refused, as a sentence; empty if it is accepted.

    call
        The function of the master that the minion calls.
    load
        The message. ``load["id"]`` is the sender: the channel has verified it with the key.
    """
    if call not in CALLS:
        return f"the call {call!r:.60} is not allowed for minions"
    if call == "_return" and "resource_id" in load:
        return f"a return in the name of {load['resource_id']!r:.60}"
    return _of_events(load) if call == "_minion_event" else ""


def _of_events(load):
    sender = load.get("id")
    if load.get("pretag") is not None:
        return "an event with a tag prefix, which only a syndic sends"
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
    Decides which returns of minions are stored: returns to a job that the master started for this minion, within the budget.

    asked
        A function of a job ID that returns the IDs of its target minions, or None for a job that the master does not know.
    clock
        A function that returns monotonic seconds.
    """

    def __init__(self, asked, clock=time.monotonic):
        self._asked, self._clock, self._spent = asked, clock, {}

    def objection(self, load, size):
        """Return why a return of ``size`` bytes is refused, as a sentence; empty if it is accepted."""
        sender, job = load.get("id"), load.get("jid")
        if size > LONGEST:
            return f"a return of {size} bytes, more than {LONGEST}"
        if job != "req":
            asked = self._asked(job)
            if asked is None:
                return f"a return to the job {job!r:.60}, which was never started"
            if sender not in asked:
                return f"a return to the job {job!r:.60}, which does not target this minion"
        return self._over(sender, size + (STANDALONE if job == "req" else FILES))

    def _over(self, sender, size):
        hour = int(self._clock() // HOUR)
        then, spent = self._spent.get(sender, (hour, 0))
        spent = size + (spent if then == hour else 0)
        if spent > BUDGET:
            return f"returns of more than {BUDGET} bytes within an hour"
        self._spent[sender] = (hour, spent)
        return ""


def asked_by(opts):
    """Return a function for ``Answers``: the targets of a job, from the master's job cache (``salt.returners.local_cache``)."""
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
    """Filter every message of a minion first. Raises ``RuntimeError`` if Salt's class does not have the expected calls."""
    handle = handlers.run_func
    unknown = CALLS - set(handlers.expose_methods)
    if unknown:
        raise RuntimeError(
            f"this version of Salt has no {', '.join(sorted(unknown))}: the message filter does not support it"
        )

    @functools.wraps(handle)
    def run_func(self, func, load):
        reason = objection(func, load)
        if not reason and func == "_return":
            if not hasattr(self, "answers"):
                self.answers = Answers(asked_by(self.opts))
            reason = self.answers.objection(load, len(salt.payload.dumps(load)))
        if not reason:
            return handle(self, func, load)
        if func not in EXPECTED:
            log.warning("Refused from %s: %s", load.get("id"), reason)
        return {}, {"fun": "send"}

    handlers.run_func = run_func


class Tree:
    """
    Puts the folders that the tree's modules import from (``_utils``, ``_runners/_utils``) on the path, and reloads changed files.

    Salt loads a module from disk whenever it creates a loader, for example for each pillar that it compiles. Python keeps what
    such a module imports, so in a long-lived process a new module would get an old import. Salt also has these folders on the
    path only while it loads, and two threads of the reactor would remove them from each other.
    """

    def __init__(self):
        self._known, self._lock = {}, threading.Lock()

    def follow(self, folders):
        """Put folders on the path. If a file has changed since the last call, all their files are imported again."""
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
                continue  # the tree is being replaced right now

    def watch(self, loader):
        """Call ``follow`` whenever Salt creates loaders: for each set of loaders it creates the loader of utils first."""
        create = loader.utils

        @functools.wraps(create)
        def utils(opts, *args, **kwargs):
            self.follow([f"{folder}/_utils" for folder in opts.get("module_dirs", [])])
            return create(opts, *args, **kwargs)

        loader.utils = utils


if __name__ == "__main__":
    import salt.loader
    import salt.scripts

    import salt.master

    guard(salt.master.AESFuncs)
    Tree().watch(salt.loader)
    sys.argv[0] = "/opt/salt/bin/salt-master"
    salt.scripts.salt_master()
