"""
The state of the Salt master: what a bare host needs to become this master. The only list of it. Pure.

It is what the backup of the master contains (``fanatico_master_archive``), and what ``./bootstrap-master --restore`` writes.
Everything else on the master is in git, or the states make it again.
"""

import dataclasses
import fnmatch
import hashlib

# What a restore does where the host already has the file with other contents.
REFUSE = "refuse"  # the host is another master: nothing is touched
UNCHANGED = "unchanged"  # replace it if git has it as it is; otherwise as REFUSE
KEEP = "keep"  # leave it: the host has newer contents, or the states have written it
JOIN = "join"  # add the lines that are missing


@dataclasses.dataclass(frozen=True)
class Part:
    """A file or a directory of the state."""

    path: str
    # What it is, for docs/disaster.md.
    what: str
    # REFUSE, UNCHANGED, KEEP or JOIN.
    meets: str
    # Whether a change is backed up at once. The others are in the next nightly backup.
    lasting: bool = True


def parts(tree, ca_dir):
    """
    Return the parts, the most specific first.

    tree
        The directory of the repository, pillar ``master:tree``.
    ca_dir
        The directory of the certificate authorities, pillar ``master:ca_dir``.
    """
    return (
        Part(
            "/etc/salt/pki", "keys of the master, of its minion and of salt-ssh; accepted minion keys", REFUSE
        ),
        Part("/etc/salt/gpgkeys", "the GPG key that decrypts the secrets", REFUSE),
        Part(ca_dir, "the certificate authorities", REFUSE),
        Part(f"{tree}/pillar/secrets", "the secrets, encrypted with the GPG key", REFUSE),
        Part(f"{tree}/pillar/site", "the settings of this installation", UNCHANGED),
        Part(f"{tree}/pillar/plan.sls", "the plan", UNCHANGED),
        Part("/etc/salt", "settings of the master and its minion that an operator added", KEEP),
        Part("/etc/systemd/system/salt-master.service.d", "local changes of the master's unit", KEEP),
        Part("/etc/systemd/system/salt-minion.service.d", "local changes of its minion's unit", KEEP),
        Part("/root/.ssh/known_hosts", "SSH host keys that an operator has verified", JOIN),
        Part("/var/lib/fanatico", "memory of the guard, journals, a freeze", KEEP, lasting=False),
        Part("/var/log/fanatico", "the history", KEEP, lasting=False),
    )


# Below these parts, but no state: what unaccepted hosts sent, locks, files that are being written, former histories.
SKIPPED = (
    "/etc/salt/pki/master/minions_pre/*",
    "/etc/salt/pki/master/minions_denied/*",
    "/etc/salt/gpgkeys/*.lock",
    "/etc/salt/gpgkeys/.#*",
    "/etc/salt/gpgkeys/random_seed",
    "/etc/salt/gpgkeys/*~",
    "/var/lib/fanatico/lock.json*",
    "/var/lib/fanatico/.*",
    "/var/log/fanatico/history.jsonl.*",
    "*/pillar/secrets/.*",
    "*/__pycache__/*",
)

# What the tree also writes on the master, and why it is not in the backup.
REBUILT = {
    "/opt/salt": "Salt, installed from the lock file",
    "/usr/local": "programs that the states install",
    "/etc/fanatico/firewall.nft": "the firewall's rules, written by the states",
    "/etc/logrotate.d": "written by the states",
    "/etc/systemd/system": "units, written by the states",
    "/etc/prometheus-node-exporter": "a certificate, which the authorities sign again",
    "/var/cache/salt": "caches, and the results of former jobs",
    "/run": "gone with each boot",
}


def part_of(path, known):
    """Return the part that contains an absolute path; None if no part does."""
    return next((part for part in known if path == part.path or path.startswith(f"{part.path}/")), None)


def is_skipped(path):
    """Tell whether an absolute path below a part is no state."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in SKIPPED)


def is_plain(path):
    """Tell whether a path is absolute and has no empty, ``.`` or ``..`` component."""
    return path.startswith("/") and not {"", ".", ".."} & set(path[1:].split("/"))


def digest(entries, known, lasting=False):
    """
    Return the SHA-256 of the state, in hexadecimal.

    entries
        ``{absolute path: (kind, mode, owner, group, data in bytes)}``.
    known
        What ``parts`` returned.
    lasting
        Only of the parts whose change is backed up at once.
    """
    total = hashlib.sha256()
    for path in sorted(entries):
        part = part_of(path, known)
        if lasting and not (part and part.lasting):
            continue
        kind, mode, owner, group, data = entries[path]
        facts = f"{path}\0{kind}\0{mode:o}\0{owner}\0{group}\0{hashlib.sha256(data).hexdigest()}\n"
        total.update(facts.encode("utf-8", "surrogateescape"))
    return total.hexdigest()
