"""The output of `up` and `status`."""

import shutil
import textwrap
import time

from lab.client import ROLE, STATISTICS_USER
from lab.forward import LOOPBACK, targets


def table(rows, header):
    """Return rows as lines of aligned columns."""
    cells = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def machines(lab):
    """Return lines with each machine's address, roles and power state."""
    on = set(lab.running())
    rows = []
    for name, machine in lab.machines.items():
        roles = lab.plan["nodes"].get(name, {}).get("roles", ["(extra)"])
        rows.append([name, machine.address, ", ".join(roles), "on" if name in on else "off"])
    return table(rows, ["machine", "address", "roles", "power"])


def health(answers, expected):
    """Return lines with each machine's health and, where it is not ok, the failed checks.

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
            saved.name,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(saved.facts["created"])),
            *(saved.facts[what] for what in ("lab", "tree", "image")),
        ]
        for saved in found
    ]
    return table(rows, ["snapshot", "saved", "lab", "tree", "image"])


def phases(progress):
    """Return lines with the duration of each phase."""
    return table([[name, f"{seconds:.1f} s"] for name, seconds in progress.phases], ["phase", "time"])


BLOCK_NUMBER = '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}'
NEW_BLOCKS = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'


def services(plan):
    """Return lines with the addresses for applications inside the lab."""
    vip, ports = plan["virtual_ip"]["address"], plan["ports"]
    return [
        f"JSON-RPC           http://{vip}:{ports['rpc_http']}      (/health answers too)",
        f"WebSocket          ws://{vip}:{ports['rpc_ws']}",
        f"PostgreSQL         {vip}:{ports['postgres_primary']} (primary), {vip}:{ports['postgres_replica']} (replicas)",
        f"HAProxy statistics https://{vip}:{ports['haproxy_stats']}/stats",
    ]


def reach(lab, ports, files, database):
    """Return lines with commands that reach a lab's services from this machine.

    :param ports: {key of plan:ports: port on 127.0.0.1}, of lab.forward.
    :param files: the lab's client files, of lab.client.
    :param database: name of the application's database.
    """
    option, vip = lab.option(), lab.plan["virtual_ip"]["address"]
    lines = [f"From this machine, on 127.0.0.1 only (show again: sudo ./fanatico forward{option}):"]
    if "rpc_http" in ports:
        url = f"http://{LOOPBACK}:{ports['rpc_http']}"
        lines += [
            "",
            "JSON-RPC",
            f"  curl {url}/health",
            f"  curl -H 'Content-Type: application/json' -d '{BLOCK_NUMBER}' {url}",
        ]
    if "rpc_ws" in ports:
        lines += [
            "",
            "WebSocket: each new block, until Ctrl-C",
            f"  .venv/bin/wsdump --raw --text '{NEW_BLOCKS}' ws://{LOOPBACK}:{ports['rpc_ws']}",
        ]
    if "postgres_primary" in ports:
        lines += [
            "",
            f"PostgreSQL: database {database}, user {ROLE}, password in {files.passfile}",
            f"  sudo ./fanatico psql{option}   # --replica: a replica",
        ]
    for name in ("postgres_primary", "postgres_replica"):
        if name in ports and shutil.which("psql"):
            words = {
                "host": vip,
                "hostaddr": LOOPBACK,
                "port": ports[name],
                "dbname": database,
                "user": ROLE,
                "sslmode": "verify-full",
                "sslrootcert": files.authority,
                "passfile": files.passfile,
            }
            lines.append(f'  sudo psql "{" ".join(f"{key}={value}" for key, value in words.items())}"')
    if "haproxy_stats" in ports:
        port, inside = ports["haproxy_stats"], lab.plan["ports"]["haproxy_stats"]
        lines += [
            "",
            f"HAProxy statistics: https://{LOOPBACK}:{port}/stats in a browser, user {STATISTICS_USER}, "
            f"password in {files.netrc}",
            f"  sudo curl --netrc-file {files.netrc} --cacert {files.edge} --connect-to ::{LOOPBACK}:{port} "
            f"https://{vip}:{inside}/stats",
        ]
    return lines


def forwarded(lab, ports):
    """Return a line with the services of a lab that are forwarded to 127.0.0.1 now.

    :param ports: {key of plan:ports: port on 127.0.0.1} of the running processes.
    """
    missing = [target.name for target in targets(lab.name, lab.plan) if target.name not in ports]
    on = ", ".join(f"{name} on {LOOPBACK}:{port}" for name, port in ports.items())
    if not missing:
        return f"forwarded: {on}"
    return f"forwarded: {on or 'none'}; not forwarded: {', '.join(missing)}. Start: sudo ./fanatico forward{lab.option()}"


def wrap(text):
    """Wrap a message to the terminal's width, keeping its line breaks."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 130)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ") if len(line) > width else line
        for line in text.splitlines()
    )
