"""What `up` and `status` print for a person."""

import shutil
import textwrap
import time


def table(rows, header):
    """Return rows as lines of aligned columns."""
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def machines(lab):
    """Return lines with each machine's address, roles and whether it is on."""
    on = set(lab.running())
    rows = []
    for name, machine in lab.machines.items():
        roles = lab.plan["nodes"].get(name, {}).get("roles", ["(extra)"])
        rows.append([name, machine.address, ", ".join(roles), "on" if name in on else "off"])
    return table(rows, ["machine", "address", "roles", "power"])


def health(answers, expected):
    """Return lines with each machine's verdict and, where it is not ok, the checks that say why.

    :param answers: {minion: result of fanatico.health}.
    :param expected: ids that should have answered.
    """
    rows = []
    for name in expected:
        answer = answers.get(name)
        if not isinstance(answer, dict) or "status" not in answer:
            rows.append([name, "no answer", str(answer)[:80] if answer else ""])
            continue
        faults = [
            f"{check}: {found['detail'] or found['value']}"
            for check, found in answer["checks"].items()
            if found["status"] != "ok"
        ]
        rows.append([name, answer["status"], "; ".join(faults) or f"{len(answer['checks'])} checks"])
    return table(rows, ["machine", "health", "detail"])


def snapshots(found):
    """Return lines with each snapshot's age, lab, tree and image.

    :param found: Snapshots.
    """
    rows = [
        [
            one.name,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.facts["created"])),
            *(one.facts[what] for what in ("lab", "tree", "image")),
        ]
        for one in found
    ]
    return table(rows, ["snapshot", "saved", "lab", "tree", "image"])


def phases(progress):
    """Return lines with the time of each phase."""
    return table([[name, f"{seconds:.1f} s"] for name, seconds in progress.phases], ["phase", "time"])


def services(plan):
    """Return lines with the addresses an application would use."""
    vip, ports = plan["virtual_ip"]["address"], plan["ports"]
    return [
        f"JSON-RPC           http://{vip}:{ports['rpc_http']}      (/health answers too)",
        f"WebSocket          ws://{vip}:{ports['rpc_ws']}",
        f"PostgreSQL         {vip}:{ports['postgres_primary']} (primary), {vip}:{ports['postgres_replica']} (replicas)",
        f"HAProxy statistics https://{vip}:{ports['haproxy_stats']}/",
    ]


def wrap(text):
    """Fold a message for a person's terminal, keeping its own line breaks."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 130)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ") if len(line) > width else line
        for line in text.splitlines()
    )
