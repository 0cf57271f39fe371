"""
Test whether PostgreSQL can start with given parameters before they are applied. Pure: the caller runs the programs.

``postgres -C shared_memory_size`` reads the configuration, loads the libraries of ``shared_preload_libraries`` and calculates the
memory, as a start does, and exits. It needs a data directory that is not in use: a copied ``pg_control`` is enough.
"""

import re

_SHARE = 0.75  # of the host's memory; the rest is for sessions, kernel and file cache
_LINE = re.compile(r"^(?:.* )?(FATAL|PANIC|ERROR|LOG|HINT): +(.*)$")
_EMPTY = re.compile(r"configuration file .* contains errors|database system is shut down")


def configuration(parameters):
    """Return the text of a postgresql.conf with ``parameters``, ``{name: value}``; None means PostgreSQL's default."""
    lines = [
        f"{name} = '{_text(value)}'"
        for name, value in sorted((parameters or {}).items())
        if value is not None
    ]
    return "".join(f"{line}\n" for line in lines)


def _text(value):
    if isinstance(value, bool):  # but not 0 and 1
        return "on" if value else "off"
    return str(value).replace("'", "''")


def startup_error(stderr):
    """Return why ``postgres`` exited, from its stderr: the first error, with its hint, as one line."""
    found = [(kind, text) for kind, text in (_parsed(line) for line in stderr.splitlines()) if text]
    errors = [text for kind, text in found if kind != "HINT" and not _EMPTY.search(text)]
    hints = [text for kind, text in found if kind == "HINT"]
    return ". ".join([*errors[:1], *hints[:1]])[:300] or "it exited without an error message"


def _parsed(line):
    found = _LINE.match(line)
    return found.groups() if found else ("", "")


def shared_memory_fault(shared, total):
    """
    Return why the host cannot provide the shared memory; empty if it can.

    shared
        MiB, the result of ``shared_memory_size``.
    total
        Memory of the host in MiB.
    """
    if shared <= _SHARE * total:
        return ""
    return (
        f"{shared} MiB of shared memory required, the host has {total} MiB; "
        f"use at most {round(_SHARE * 100)} % of it"
    )


def huge_pages_fault(needed, reserved):
    """Return why ``huge_pages: on`` would fail, from the numbers of needed and reserved pages; empty if it would not."""
    if needed <= reserved:
        return ""
    return f"huge_pages is on: {needed} huge pages required, {reserved} reserved. Next: sysctl vm.nr_hugepages={needed}"
