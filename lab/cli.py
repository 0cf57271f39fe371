"""The command line of ./fanatico: its commands and options. lab/commands.py carries them out."""

import argparse
import sys

import fanatico_release
from lab import commands, report
from lab.errors import LabError


def main(arguments=None):
    """Run one command and return its exit code. An expected error is printed as one message, without a traceback."""
    words, rest = split(list(sys.argv[1:] if arguments is None else arguments))
    options = parser().parse_args(words)
    options.rest = rest
    try:
        return options.run(options) or 0
    except LabError as error:
        print(report.wrap(f"fanatico: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fanatico: interrupted. Check the lab's state: ./fanatico status", file=sys.stderr)
        return 130


def split(words):
    """Split the command line into (our arguments, those of another program).

    Arguments for pytest and psql follow `--`, those of a benchmark follow `bench`.
    """
    if words[:1] == ["bench"]:
        return words[:1], words[1:]
    if words[:1] in (["test"], ["psql"]) and "--" in words:
        return words[: words.index("--")], words[words.index("--") + 1 :]
    return words, []


def parser():
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="./fanatico",
        description="Run the Fanatico infrastructure on one machine, as a lab of systemd-nspawn machines.",
    )
    top.add_argument("--version", action="version", version=f"fanatico {fanatico_release.VERSION}")
    known = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, help, **keywords):
        sub = known.add_parser(name, help=help, description=help, **keywords)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--name",
            default="default",
            help="name of the lab (default: default); labs share nothing",
        )
        return sub

    for add in (_of_labs, _of_machines, _of_services, _of_tests, _of_drills):
        add(command)
    return top


def _of_labs(command):
    sub = command("up", commands.up, "build the image if needed, boot all machines and deploy")
    sub.add_argument(
        "--no-deploy", action="store_true", help="stop once the minions answer, without orch.deploy"
    )
    sub.add_argument("--plan", default=None, help="plan file (default: pillar/plan.sls)")
    sub.add_argument(
        "--from", dest="origin", metavar="SNAPSHOT", help="start from this snapshot, without a deploy"
    )
    sub.add_argument(
        "--fresh",
        action="store_true",
        help="deploy to new machines, even if there is a snapshot of this tree",
    )
    command("image", commands.build_image, "build the machines' image, unless it is up to date")
    sub = command("snapshot", commands.snapshots, "save, restore, list or drop snapshots of the whole lab")
    sub.add_argument("verb", choices=["save", "restore", "list", "drop"])
    sub.add_argument(
        "snapshot",
        nargs="?",
        metavar="SNAPSHOT",
        help="name of the snapshot; `up` saves one named `deployed`",
    )
    sub = command("down", commands.down, "remove the lab: processes, mounts, namespaces, cgroups, files")
    sub.add_argument(
        "--purge", action="store_true", help="also delete the image, the snapshots and the packages"
    )


def _of_machines(command):
    command("status", commands.status, "show the machines and the state of the cluster")
    sub = command("exec", commands.execute, "run a command on a machine: exec MACHINE -- CMD...")
    sub.add_argument("machine")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD...")
    sub = command("shell", commands.shell, "open a shell on a machine")
    sub.add_argument("machine")
    sub = command("power", commands.power, "cut or restore a machine's power")
    sub.add_argument("state", choices=["on", "off"])
    sub.add_argument("machine")
    sub = command("cable", commands.cable, "pull or plug a machine's network cable")
    sub.add_argument("state", choices=["pull", "plug"])
    sub.add_argument("machine")
    sub = command("machine", commands.machine, "add a machine to the lab, or remove one, without a deploy")
    sub.add_argument("verb", choices=["add", "remove"])
    sub.add_argument("machine")
    sub.add_argument(
        "--address",
        help="for add: its address (default: from pillar/plan.sls, else the next free one of its role)",
    )
    sub.add_argument(
        "--role",
        action="append",
        dest="roles",
        help="for add: a role, repeatable (default: from pillar/plan.sls)",
    )
    sub.add_argument(
        "--bare",
        action="store_true",
        help="for add: Debian with sshd only, without Salt and outside the plan (see docs/fleet.md)",
    )


def _of_services(command):
    sub = command(
        "forward",
        commands.reach,
        "forward the lab's services to 127.0.0.1 (`up` does this too) and show how to use them",
    )
    sub.add_argument("--stop", action="store_true", help="stop forwarding (`down` does this too)")
    sub = command(
        "psql",
        commands.psql,
        "open psql as the application user, through the virtual IP: psql [-- ARGUMENTS...]",
    )
    sub.add_argument("--replica", action="store_true", help="connect to a replica")


def _of_tests(command):
    sub = command(
        "test", commands.test, "run the tests: all layers, the named layers, or a group: fast, full"
    )
    sub.add_argument("layers", nargs="*", metavar="LAYER")
    sub.add_argument("--lab", default=None, help="run the lab tests on this running lab instead of a new one")
    sub.add_argument(
        "--slowest",
        type=int,
        default=0,
        metavar="N",
        help="list the N slowest tests and how their time was spent",
    )


def _of_drills(command):
    sub = command("drill", commands.drill, "inject a fault under load and measure its effect on clients")
    sub.add_argument(
        "fault",
        metavar="FAULT",
        help="a name from `drill list`, several with commas, or: short, all, nemesis, list",
    )
    sub.add_argument("--runs", type=int, default=1, help="runs of each fault (default: 1)")
    sub.add_argument(
        "--hold", type=float, help="seconds until the fault is reverted (default: the fault's own)"
    )
    sub.add_argument("--minutes", type=float, default=20, help="duration of the nemesis (default: 20)")
    sub.add_argument(
        "--keep", action="store_true", help="also save the figures of every run in bench/results/"
    )
    sub.add_argument("--seed", type=int, help="random seed of the nemesis, to repeat its faults")
    sub.add_argument(
        "--report",
        default=None,
        help="new folder for the report and the raw data (default: drills/<time>)",
    )
    command(
        "bench",
        commands.bench,
        "measure the published figures on this machine and save the raw numbers; "
        + "; ".join(f"`bench {name}`: {what}" for name, what in commands.BENCHES.items()),
    )
