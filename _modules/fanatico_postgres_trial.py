"""
Whether PostgreSQL on this host could start with other parameters, tried on an empty data directory.
"""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import fanatico_trial

__virtualname__ = "fanatico_postgres"

_SUPERUSER = "postgres"


def __virtual__():
    return __virtualname__


def refuses(parameters, bin_dir, data_dir):
    """
    Return why PostgreSQL on this host could not start with these parameters; empty where it could, or is not installed yet.

    Nothing that runs is touched: it is tried on an empty data directory.

    parameters
        ``{name: value}``, all that differ from PostgreSQL's defaults.
    bin_dir
        Where ``postgres`` is.
    data_dir
        The data, whose ``pg_control`` is copied: the size of a WAL segment stands there.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.refuses '{huge_pages: "on"}' /usr/lib/postgresql/17/bin /var/lib/postgresql/17/main
    """
    program = pathlib.Path(bin_dir, "postgres")
    if not program.exists():
        return ""
    with tempfile.TemporaryDirectory(prefix="fanatico-trial-") as folder:
        scratch = pathlib.Path(folder, "data")
        fault = _empty_data(scratch, bin_dir, pathlib.Path(data_dir))
        if fault:
            return fault
        pathlib.Path(scratch, "postgresql.conf").write_text(
            fanatico_trial.configuration(parameters), encoding="utf-8"
        )
        _give_to_postgres(pathlib.Path(folder))
        size, fault = _tried(program, scratch, "shared_memory_size")
        fault = fault or fanatico_trial.shared_memory_fault(size, _meminfo("MemTotal") // 1024)
        if not fault and str(parameters.get("huge_pages")) in ("on", "True"):
            pages, fault = _tried(program, scratch, "shared_memory_size_in_huge_pages")
            fault = fault or fanatico_trial.huge_pages_fault(pages, _meminfo("HugePages_Total"))
        return fault


def _empty_data(scratch, bin_dir, data_dir):
    """Make a data directory that ``postgres -C`` takes. Returns why it could not be made, or an empty string."""
    if (data_dir / "global/pg_control").is_file():
        (scratch / "global").mkdir(parents=True)
        shutil.copyfile(data_dir / "PG_VERSION", scratch / "PG_VERSION")
        shutil.copyfile(data_dir / "global/pg_control", scratch / "global/pg_control")
        (scratch / "postgresql.auto.conf").touch()
        return ""
    _give_to_postgres(scratch.parent)
    done = _as_postgres(f"{bin_dir}/initdb", "-D", str(scratch), "--no-sync", "--no-instructions")
    return "" if done.returncode == 0 else fanatico_trial.startup_error(done.stderr)


def _tried(program, scratch, name):
    """Return ``(the number that a parameter comes to, why PostgreSQL does not start)``."""
    done = _as_postgres(str(program), "-D", str(scratch), "-C", name)
    if done.returncode == 0 and done.stdout.strip().isdecimal():
        return int(done.stdout), ""
    return 0, fanatico_trial.startup_error(done.stderr)


def _as_postgres(*command):
    argv = ["runuser", "-u", _SUPERUSER, "--", "timeout", "20", *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd="/")


def _give_to_postgres(folder):
    """Make a folder and what is in it the server's own, and nobody else's."""
    owner = pwd.getpwnam(_SUPERUSER)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


def _meminfo(name):
    """Return a line of /proc/meminfo: kB, or a number of pages."""
    for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
