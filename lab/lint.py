"""The commands of the lint layer, for every file that git tracks or would add."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.errors import LabError
from lab.paths import REPO

BIN = Path(sys.executable).parent


def commands():
    """Return the command lines of the lint layer.

    Raises LabError when shellcheck, the only one that is not in the venv, is missing and cannot be installed.
    """
    states = _files("*.sls")
    # A template is not a shell script until it is rendered; tests/rendering checks those.
    scripts = [path for path in _files() if path.is_file() and path.suffix != ".jinja" and _is_shell(path)]
    if not shutil.which("shellcheck"):
        install("shellcheck")
    return [
        [BIN / "ruff", "check", "."],
        [BIN / "ruff", "format", "--check", "."],
        [BIN / "yamllint", "--strict", "."],
        [BIN / "salt-lint", *states],
        ["shellcheck", *scripts],
    ]


def _files(*patterns):
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True).stdout.splitlines()
    return [REPO / name for name in names if (REPO / name).exists()]


def _is_shell(path):
    with open(path, "rb") as file:
        return file.readline().rstrip() in (b"#!/bin/bash", b"#!/bin/sh", b"#!/usr/bin/env bash")


def install(package):
    """Install a Debian package on this machine. Its program must have the package's name.

    :raises LabError: when the caller is not root, or the package cannot be installed.
    """
    if os.geteuid() != 0:
        raise LabError(f"{package} is not installed. Install it: sudo apt-get install {package}")
    for argv in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package],
    ):
        subprocess.run(
            argv,
            check=False,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    if not shutil.which(package):
        raise LabError(f"{package} could not be installed. See the reason: apt-get install {package}")
