"""The upload of kitchen-salt 0.7.2 for a suite of kitchen.yml, by the same rules, so that a mistake there fails here too.

Three differences: ERB is not run (`ERB` lists the expressions that kitchen.yml may contain), a setting that is not
among `SETTINGS` is refused, and the scripts that kitchen-salt adds for formulas of other repositories are left out.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from lab.errors import LabError
from tests.support import REPO

ROOT = "/tmp/kitchen"  # on the machine; test-kitchen's default
# kitchen-salt's minion.erb.
MINION = {
    "local": True,
    "state_top": "top.sls",
    "root_dir": ROOT,
    "file_roots": {"base": [f"{ROOT}/srv/salt", f"{ROOT}/srv/spm/salt"]},
    "pillar_roots": {"base": [f"{ROOT}/srv/pillar", f"{ROOT}/srv/spm/pillar"]},
}
# Settings of the provisioner that are implemented here, and those that do not affect the upload.
SETTINGS = {
    *("local_salt_root", "salt_copy_filter", "state_top_from_file", "cache_commands"),
    *("pillars_from_directories", "pillars_from_files", "pillars"),
    *("name", "salt_install", "require_chef", "sudo", "salt_call_command", "salt_minion_id"),
}
# {expression: its value without any KITCHEN_ variable}
ERB = {
    r'secret\.call\("(\w+)"\)': lambda found, repo: made_up(found[1], repo),
    r'host\.call\("([\d.]+)"\)': lambda found, repo: found[1],
    "key": lambda found, repo: "",
    "admin": lambda found, repo: "",
}


def made_up(name, repo=REPO):
    """Return the secret that kitchen.yml generates for *name*."""
    return hashlib.sha256(f"{repo}{name}".encode()).hexdigest()[:32]


def suites(repo=REPO):
    """Return {suite: {"driver": settings, "provisioner": settings}} of a checkout's kitchen.yml, ERB filled in.

    :raises LabError: when kitchen.yml holds an expression of ERB that is unknown here.
    """
    text = re.sub(r"<%=(.*?)%>", lambda found: _expression(found[1].strip(), repo), _kitchen_yml(repo))
    kitchen = yaml.safe_load(text)
    return {
        suite["name"]: {
            part: _merge(kitchen[part], suite.get(part, {})) for part in ("driver", "provisioner")
        }
        for suite in kitchen["suites"]
    }


def _kitchen_yml(repo):
    return re.sub(r"<%[^=].*?%>", "", (repo / "kitchen.yml").read_text())


def _expression(code, repo):
    for pattern, value in ERB.items():
        found = re.fullmatch(pattern, code)
        if found:
            return value(found, repo)
    raise LabError(
        f"kitchen.yml: <%= {code} %> is unknown here. Next: add it to ERB in {Path(__file__).name}."
    )


def _merge(common, own):
    """Merge a suite's settings over the common ones as test-kitchen does: dictionaries recursively, other values replaced."""
    merged = dict(common)
    for key, value in own.items():
        deeper = isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if deeper else value
    return merged


def lay_out(settings, sandbox, repo=REPO):
    """Fill a folder with the upload for `ROOT` on a suite's machine.

    :param settings: the provisioner's settings of the suite, see `suites`.
    :param sandbox: an empty folder.
    :raises LabError: with the reason, where the real tools would fail.
    """
    unknown = sorted(set(settings) - SETTINGS)
    if unknown:
        raise LabError(
            f"kitchen.yml: provisioner:{unknown[0]} is not followed here. Next: follow it in {Path(__file__).name}."
        )
    if settings.get("local_salt_root") != "." or settings.get("state_top_from_file") is not True:
        raise LabError(
            "kitchen.yml: only local_salt_root '.' and state_top_from_file true are followed here. "
            f"Next: follow others in {Path(__file__).name}."
        )
    sandbox, ignored = Path(sandbox), settings.get("salt_copy_filter", [])
    _write(sandbox / "etc/salt/minion", yaml.safe_dump(MINION))
    _pillars(settings, sandbox, repo, ignored)
    copy_filtered(repo / "salt", sandbox / "srv/salt", ignored)
    _write(sandbox / "srv/salt/top.sls", (repo / "salt/top.sls").read_text())
    for command in settings.get("cache_commands", []):
        _cache(command, sandbox, repo)
    _refuse_dangling_links(sandbox)


def copy_filtered(source, target, ignored):
    """Copy a folder as kitchen-salt's cp_r_with_filter does.

    A link to a folder is followed and its content copied without the filter; every other link stays a link.

    :param ignored: names that are left out.
    """
    if source.name in ignored:
        return
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        copied = target / entry.name
        if entry.name in ignored:
            continue
        if entry.is_dir(follow_symlinks=False):
            copy_filtered(Path(entry.path), copied, ignored)
        elif entry.is_dir():
            shutil.copytree(entry.path, copied, symlinks=True, dirs_exist_ok=True)
        elif entry.is_symlink():
            copied.symlink_to(os.readlink(entry.path))
        else:
            shutil.copy(entry.path, copied)


def _pillars(settings, sandbox, repo, ignored):
    """Build the pillar: directories first, then `pillars`, then files; without the latter two `local_salt_root`'s pillar."""
    for folder in settings.get("pillars_from_directories", []):
        place = folder if isinstance(folder, dict) else {"source": folder, "dest": "srv/pillar"}
        copy_filtered(repo / place["source"], sandbox / place["dest"].lstrip("/"), ignored)
    pillars, files = settings.get("pillars"), settings.get("pillars_from_files")
    if pillars is None and files is None:
        copy_filtered(repo / "pillar", sandbox / "srv/pillar", ignored)
        return
    if pillars is None:
        raise LabError(
            "kitchen.yml: a suite with pillars_from_files and without pillars makes kitchen-salt crash "
            "(undefined method `each' for nil). Next: give it pillars, {} at least."
        )
    for path, content in pillars.items():
        _write(sandbox / "srv/pillar" / path, yaml.safe_dump(content))
    for path, source in (files or {}).items():
        if not (repo / source).is_file():
            raise LabError(
                f"kitchen.yml: pillars_from_files names {source}, which is no file of this checkout."
            )
        _write(sandbox / "srv/pillar" / path, (repo / source).read_text())


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _cache(command, sandbox, repo):
    """Run a command of cache_commands in the checkout, %{sandbox_path} filled in, by a shell as Ruby's `system` does."""
    line = command.replace("%{sandbox_path}", str(sandbox))
    if "%{" in line:
        raise LabError(f"kitchen.yml: in cache_commands only %{{sandbox_path}} is known here: {command}")
    done = subprocess.run(
        ["sh", "-c", line], cwd=repo, check=False, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise LabError(
            f"kitchen.yml: the command of cache_commands `{command}` failed with exit code {done.returncode}: "
            f"{done.stderr.strip()}"
        )


def _refuse_dangling_links(sandbox):
    """Check every link: the upload follows links, so each needs a target."""
    for folder, folders, files in os.walk(sandbox):
        for path in (Path(folder) / name for name in [*folders, *files]):
            if not path.exists():
                raise LabError(
                    f"kitchen.yml: /{path.relative_to(sandbox)} would be uploaded as a link to {os.readlink(path)}, where "
                    "nothing is: kitchen-salt copies a link to a file as a link. Next: copy the file there in cache_commands."
                )
