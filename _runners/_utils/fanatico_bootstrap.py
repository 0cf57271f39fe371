"""
The program behind ``./bootstrap-master``: restore the Salt master on a bare host, and show the passphrase of its backups.

It runs with the system's Python, without Salt. It restores in steps that can be repeated: after an interruption, run it again.
"""

import argparse
import getpass
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(TREE / "_utils"))

import fanatico_master_archive as archives  # noqa: E402
import fanatico_master_state as states  # noqa: E402

SECRETS = "pillar/secrets/master.sls"
SECRET = "MASTER_BACKUP_PASSPHRASE"
SHOWN = pathlib.Path("/var/lib/fanatico/passphrase-shown")
GPG_HOME = pathlib.Path("/etc/salt/gpgkeys")
PACKAGES = "apt-get install -y --no-install-recommends git python3-venv gnupg openssh-client gcc libc6-dev python3-dev"
ANSWERS = 150  # seconds for all minions to answer
PASSPHRASE_BYTES = 4096


class Refusal(Exception):
    """The request is refused, or a step failed: one sentence with the reason and the next step."""


def main(argv=None):
    """Run the program; returns the exit code."""
    options = _options(argv)
    try:
        if os.geteuid() != 0:
            raise Refusal("Run it as root. Nothing was changed")
        return show(options.again) if options.passphrase else restore(options)
    except (Refusal, archives.ArchiveError, OSError) as exc:
        sys.stderr.write(f"bootstrap-master: {exc}.\n")
        return 1
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("bootstrap-master: interrupted. Next: run it again; it goes on from here.\n")
        return 130


def _options(argv):
    parser = argparse.ArgumentParser(
        prog="bootstrap-master", description="Salt master of fanatico: docs/disaster.md"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--restore", metavar="FILE", type=pathlib.Path, help="make this bare host the master again"
    )
    what.add_argument(
        "--passphrase", action="store_true", help="show the passphrase of the master's backups, once"
    )
    parser.add_argument(
        "--again", action="store_true", help="with --passphrase: show it although it was shown before"
    )
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=pathlib.Path, help="with --restore: mode 0600, owner root"
    )
    parser.add_argument(
        "--plan", metavar="NAME", help="with --restore: plan:name in the backup, if not the one of this tree"
    )
    return parser.parse_args(argv)


# the passphrase


def show(again):
    """Print the passphrase of the backups, once; with ``again`` also later. Only it goes to standard output."""
    path = TREE / SECRETS
    if not path.exists():
        raise Refusal(f"{path} does not exist. Next: salt-run fanatico.secrets_init")
    present = hashlib.sha256(path.read_bytes()).hexdigest()
    if not again and SHOWN.exists() and SHOWN.read_text(encoding="ascii").strip() == present:
        raise Refusal("The passphrase was shown before. Next: to show it again, add --again")
    argv = ["gpg", "--homedir", str(GPG_HOME), "--batch", "--quiet", "--decrypt", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    try:
        found = json.loads(done.stdout)["secrets"][SECRET]
    except (ValueError, KeyError, TypeError) as exc:
        raise Refusal(
            f"{path} has no {SECRET}, or cannot be decrypted. Next: salt-run fanatico.secrets_init"
        ) from exc
    words = "Passphrase of the backups of this Salt master. Without it no backup can be read. Keep it outside of the cluster:"
    sys.stderr.write(f"{words}\n")
    sys.stdout.write(f"{found}\n")
    sys.stdout.flush()
    mark_shown(path)
    return 0


def mark_shown(path):
    """Record that an operator has the passphrase which the secrets file ``path`` holds; health asks for it."""
    present = hashlib.sha256(path.read_bytes()).hexdigest()
    SHOWN.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    archives.put(SHOWN, ("f", 0o600, 0, 0, f"{present}\n".encode()))


def passphrase(path):
    """Return the passphrase: typed, or the first line of a file that only root can read."""
    if path is None:
        return getpass.getpass("Passphrase of the backup: ")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o177:
            raise Refusal(
                f"{path}: mode 0600 and owner root are required. Nothing was changed. Next: chmod 600 {path}"
            )
        return file.read(PASSPHRASE_BYTES).split("\n")[0]


# the restore


def restore(options):
    """Restore the master from a backup, start it, and prove which minions answer."""
    began = time.monotonic()
    require_tools()
    backup = archives.read(options.restore, passphrase(options.passphrase_file))
    manifest = backup.manifest
    todo, refused = compare(backup, TREE)
    refused = [*misfits(manifest, options.plan or plan_name(TREE / "pillar/plan.sls")), *refused]
    if refused:
        listed = "\n  - ".join(refused)
        raise Refusal(
            f"{options.restore} is not restored here. Nothing was changed:\n  - {listed}\nNext: docs/disaster.md"
        )
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(manifest["made"]))
    say(
        f"The master {manifest['master']} of the plan {manifest['plan']}, backup of {made}: {len(backup.entries)} files"
    )
    place(todo)
    mark_shown(TREE / SECRETS)
    say(f"{len(todo)} files written; installing Salt")
    run(
        [sys.executable, TREE / "salt/minion/files/install.py", *install_options(TREE, manifest["install"])],
        900,
    )
    say("Starting the Salt master and its minion")
    local = [
        "--local",
        f"--file-root={TREE}/salt",
        f"--pillar-root={TREE}/pillar",
        f"--id={manifest['master']}",
    ]
    run(
        ["salt-call", *local, "--retcode-passthrough", "--log-level=error", "state.apply", "master,minion"],
        600,
    )
    answering = wait_answers(list(manifest["nodes"]))
    me = manifest["master"]
    if me not in answering:
        raise Refusal(
            f"{me}: its own minion does not answer. Next: journalctl -u salt-master -u salt-minion -n 50"
        )
    say("Applying the states of this host")
    run(["salt", me, "saltutil.sync_all", "--out=quiet"], 120)
    run(["salt-call", "--retcode-passthrough", "--log-level=error", "state.highstate", "queue=True"], 900)
    say("Backing up the restored master")
    backed_up = run(["salt-run", "fanatico.master_backup", "--out=quiet"], 300, check=False).returncode == 0
    return report(manifest, answering, backed_up, time.monotonic() - began)


def require_tools():
    """Check that the programs of a first installation are there. Raises ``Refusal``."""
    missing = [name for name in ("gpg", "systemctl") if not shutil.which(name)]
    argv = [sys.executable, "-c", "import ensurepip, venv"]
    if subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode:
        missing.append("python3-venv")
    if missing:
        raise Refusal(f"Missing on this host: {', '.join(missing)}. Nothing was changed. Next: {PACKAGES}")


def plan_name(path):
    """Return ``plan:name`` of a plan, which is plain YAML; None if it has none. A bare host has no YAML parser."""
    try:
        found = re.search(r"^ +name: *[\"']?([\w.-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[1] if found else None


def misfits(manifest, plan):
    """Return why a backup does not belong on this host, as sentences."""
    found = []
    if plan != manifest["plan"]:
        found.append(
            f"it is of the plan {manifest['plan']}, this tree has the plan {plan}. If that is meant: --plan {manifest['plan']}"
        )
    if str(TREE) != manifest["tree"]:
        found.append(
            f"its tree was {manifest['tree']}, this one is {TREE}: clone the repository into {manifest['tree']}"
        )
    if not has_address(manifest["address"]):
        found.append(
            f"the minions expect the master at {manifest['address']}, an address that this host does not have"
        )
    return found


def has_address(address):
    """Tell whether this host has an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def compare(backup, tree):
    """
    Compare a backup with this host: ``({path: entry to write}, [why it is refused])``.

    A key, an authority or a secret that differs means that this host is another master. What is the same is not written again.
    """
    known = states.parts(backup.manifest["tree"], backup.manifest["ca_dir"])
    todo, refused = {}, []
    for path, entry in backup.entries.items():
        meets = states.part_of(path, known).meets
        present = content(pathlib.Path(path), entry[0])
        if present is None:
            todo[path] = entry
        elif present == entry[-1] or meets == states.KEEP:
            continue
        elif meets == states.JOIN and entry[0] == "f":
            todo[path] = joined(present, entry)
        elif meets == states.UNCHANGED and as_committed(tree, path):
            todo[path] = entry
        else:
            kind = (
                "differs from the backup"
                if meets == states.UNCHANGED
                else "exists and differs: this host is another master"
            )
            refused.append(f"{path} {kind}. To restore all the same, move it away")
    return todo, refused


def content(path, kind):
    """Return what a path has, comparable with the data of an entry of this kind; None if there is nothing."""
    if path.is_symlink():
        return os.fsencode(os.readlink(path)) if kind == "l" else b"\0link"
    if path.is_dir():
        return b"" if kind == "d" else b"\0directory"
    try:
        return path.read_bytes() if kind == "f" else b"\0file" if path.exists() else None
    except FileNotFoundError:
        return None


def joined(present, entry):
    """Return the entry with the lines of ``present`` before those of its own that ``present`` does not have."""
    lines = present.splitlines()
    more = [line for line in entry[-1].splitlines() if line not in lines]
    return (*entry[:-1], b"".join(line + b"\n" for line in [*lines, *more]))


def as_committed(tree, path):
    """Tell whether git has a file of the tree exactly as it is: it is of the clone, and nobody has changed it here."""
    tracked = git(tree, "ls-files", "--error-unmatch", path) is not None
    return tracked and git(tree, "diff", "--quiet", "HEAD", "--", path) is not None


def git(tree, *words):
    """Return what git prints about the tree; None if it fails, or where there is no git or no working copy."""
    argv = ["git", "-C", str(tree), "-c", f"safe.directory={tree}", *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def place(todo):
    """Write entries; directories that contain them are created first, for root only."""
    for path, entry in todo.items():
        for folder in reversed(pathlib.Path(path).parents):
            if not folder.exists():
                folder.mkdir(mode=0o755 if str(folder) in ("/etc/fanatico", "/etc/salt") else 0o700)
        archives.put(path, entry)


def install_options(tree, install):
    """Return the arguments of ``install.py`` for the pillar's ``minion:install``, as salt/minion/installed.sls has them."""
    options = [f"--wheels-sha256={install['wheels_sha256']}"] if install.get("wheels_sha256") else []
    if install.get("wheels"):
        options += ["--no-index", f"--find-links={install['wheels']}"]
    elif install.get("index_url"):
        options += [f"--index-url={install['index_url']}"]
    return [str(tree / "salt/minion/files/requirements.txt"), *options]


def run(argv, seconds, check=True):
    """Run a program of a step and return its result. Raises ``Refusal`` with its last words if it fails."""
    environment = {**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    environment["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    words = " ".join(map(str, argv))
    again = "Next: correct it, then run bootstrap-master again; it goes on from here"
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as exc:
        raise Refusal(f"`{words}` did not end within {seconds} s. {again}") from exc
    if check and done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise Refusal(f"`{words}` failed with exit code {done.returncode}:\n{said}\n{again}")
    return done


def wait_answers(nodes):
    """Return the minions that answer the master, once all do or the time is over."""
    deadline, answering = time.monotonic() + ANSWERS, set()
    while True:
        argv = ["salt", "*", "test.ping", "--static", "--out=json", "--timeout=5"]
        said = run(argv, 120, check=False).stdout
        try:
            answers = json.loads(said[said.index("{") :])
        except ValueError:
            answers = {}
        answering |= {node for node, answer in answers.items() if answer is True}
        if set(nodes) <= answering or time.monotonic() > deadline:
            return answering & set(nodes)
        time.sleep(1)


def report(manifest, answering, backed_up, seconds):
    """Print the proof, and return the exit code: 0 if every minion of the plan answers and the backup is copied."""
    silent = [node for node in manifest["nodes"] if node not in answering]
    say(
        f"The master is restored in {seconds:.0f} s. Of {len(manifest['nodes'])} minions answer: {', '.join(sorted(answering))}"
    )
    for name in missing_artifacts(manifest):
        say(f"Missing: {TREE}/salt/artifacts/{name}, which is not in the backup. The next deploy needs it")
    commit = git(TREE, "rev-parse", "HEAD")
    if manifest["commit"] and commit and commit != manifest["commit"]:
        say(f"This tree is at the commit {commit[:12]}; the lost master was at {manifest['commit'][:12]}")
    if silent:
        say(
            f"No answer from {', '.join(silent)}. Next: salt-run fanatico.wait_minions; on those hosts: journalctl -u salt-minion"
        )
    if not backed_up:
        say("The restored master has no copy on every backup host. Next: salt-run fanatico.master_backup")
    say("Next: salt '*' fanatico.health")
    return 1 if silent or not backed_up else 0


def missing_artifacts(manifest):
    """Return the files of ``salt/artifacts`` that the lost master had and this tree does not."""
    return [name for name in manifest["artifacts"] if not (TREE / "salt/artifacts" / name).exists()]


def say(words):
    """Print a line of progress at once."""
    sys.stdout.write(f"bootstrap-master: {words}.\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
