"""
Whether PostgreSQL could start with parameters, tried before anybody is given them. Pure: the caller runs the programs.

``postgres -C shared_memory_size`` reads the configuration, loads the libraries of ``shared_preload_libraries`` and adds up the
memory, all as a start does, and ends. It needs a data directory that nobody else uses: one of a copied ``pg_control`` is enough.
"""

import re

_SHARE = 0.75  # of the host's memory: the rest is sessions', the kernel's and the file cache's
_LINE = re.compile(r"^(?:.* )?(FATAL|PANIC|ERROR|LOG|HINT): +(.*)$")
_EMPTY = re.compile(r"configuration file .* contains errors|database system is shut down")


def configuration(parameters):
    """Return a postgresql.conf with ``parameters``, ``{name: value}``; None leaves PostgreSQL's own default."""
    lines = [
        f"{name} = '{_text(value)}'"
        for name, value in sorted((parameters or {}).items())
        if value is not None
    ]
    return "".join(f"{line}\n" for line in lines)


def _text(value):
    if isinstance(value, bool):  # 0 and 1 are numbers
        return "on" if value else "off"
    return str(value).replace("'", "''")


def startup_error(stderr):
    """Return why ``postgres`` ended, out of what it wrote: its first complaint in one line; a fallback where it gave none."""
    found = [(kind, text) for kind, text in (_parsed(line) for line in stderr.splitlines()) if text]
    complaints = [text for kind, text in found if kind != "HINT" and not _EMPTY.search(text)]
    hints = [text for kind, text in found if kind == "HINT"]
    return ". ".join([*complaints[:1], *hints[:1]])[:300] or "it ended without a word"


def _parsed(line):
    found = _LINE.match(line)
    return found.groups() if found else ("", "")


def shared_memory_fault(shared, total):
    """
    Return why so much shared memory cannot be had; empty where it can.

    shared
        MiB that ``shared_memory_size`` comes to.
    total
        MiB of the host.
    """
    if shared <= _SHARE * total:
        return ""
    return (
        f"it would take {shared} MiB of shared memory, and the host has {total} MiB in all; "
        f"at most {round(_SHARE * 100)} % of them"
    )


def huge_pages_fault(needed, reserved):
    """Return why ``huge_pages: on`` fails: pages that are needed, pages the kernel has; empty where it does not."""
    if needed <= reserved:
        return ""
    return f"huge_pages is on and {needed} huge pages are needed, the kernel has {reserved} (sysctl vm.nr_hugepages)"
