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
        one = known.add_parser(name, help=help, description=help, **keywords)
        one.set_defaults(run=run)
        one.add_argument(
            "--name",
            default="default",
            help="name of the lab (default: default); labs share nothing",
        )
        return one

    for add in (_of_labs, _of_machines, _of_services, _of_tests, _of_drills):
        add(command)
    return top


def _of_labs(command):
    one = command("up", commands.up, "build the image if needed, boot all machines and deploy")
    one.add_argument(
        "--no-deploy", action="store_true", help="stop once the minions answer, without orch.deploy"
    )
    one.add_argument("--plan", default=None, help="plan file (default: pillar/plan.sls)")
    one.add_argument(
        "--from", dest="origin", metavar="SNAPSHOT", help="start from this snapshot, without a deploy"
    )
    one.add_argument(
        "--fresh",
        action="store_true",
        help="deploy to new machines, even if there is a snapshot of this tree",
    )
    command("image", commands.build_image, "build the machines' image, unless it is up to date")
    one = command("snapshot", commands.snapshots, "save, restore, list or drop snapshots of the whole lab")
    one.add_argument("verb", choices=["save", "restore", "list", "drop"])
    one.add_argument(
        "snapshot",
        nargs="?",
        metavar="SNAPSHOT",
        help="name of the snapshot; `up` saves one named `deployed`",
    )
    one = command("down", commands.down, "remove the lab: processes, mounts, namespaces, cgroups, files")
    one.add_argument(
        "--purge", action="store_true", help="also delete the image, the snapshots and the packages"
    )


def _of_machines(command):
    command("status", commands.status, "show the machines and the state of the cluster")
    one = command("exec", commands.execute, "run a command on a machine: exec MACHINE -- CMD...")
    one.add_argument("machine")
    one.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD...")
    one = command("shell", commands.shell, "open a shell on a machine")
    one.add_argument("machine")
    one = command("power", commands.power, "cut or restore a machine's power")
    one.add_argument("state", choices=["on", "off"])
    one.add_argument("machine")
    one = command("cable", commands.cable, "pull or plug a machine's network cable")
    one.add_argument("state", choices=["pull", "plug"])
    one.add_argument("machine")
    one = command("machine", commands.machine, "add a machine to the lab, or remove one, without a deploy")
    one.add_argument("verb", choices=["add", "remove"])
    one.add_argument("machine")
    one.add_argument(
        "--address",
        help="for add: its address (default: from pillar/plan.sls, else the next free one of its role)",
    )
    one.add_argument(
        "--role",
        action="append",
        dest="roles",
        help="for add: a role, repeatable (default: from pillar/plan.sls)",
    )
    one.add_argument(
        "--bare",
        action="store_true",
        help="for add: Debian with sshd only, without Salt and outside the plan (see docs/fleet.md)",
    )


def _of_services(command):
    one = command(
        "forward",
        commands.reach,
        "forward the lab's services to 127.0.0.1 (`up` does this too) and show how to use them",
    )
    one.add_argument("--stop", action="store_true", help="stop forwarding (`down` does this too)")
    one = command(
        "psql",
        commands.psql,
        "open psql as the application user, through the virtual IP: psql [-- ARGUMENTS...]",
    )
    one.add_argument("--replica", action="store_true", help="connect to a replica")


def _of_tests(command):
    one = command(
        "test", commands.test, "run the tests: all layers, the named layers, or a group: fast, full"
    )
    one.add_argument("layers", nargs="*", metavar="LAYER")
    one.add_argument("--lab", default=None, help="run the lab tests on this running lab instead of a new one")
    one.add_argument(
        "--slowest",
        type=int,
        default=0,
        metavar="N",
        help="list the N slowest tests and how their time was spent",
    )


def _of_drills(command):
    one = command("drill", commands.drill, "inject a fault under load and measure its effect on clients")
    one.add_argument(
        "fault",
        metavar="FAULT",
        help="a name from `drill list`, several with commas, or: short, all, nemesis, list",
    )
    one.add_argument("--runs", type=int, default=1, help="runs of each fault (default: 1)")
    one.add_argument(
        "--hold", type=float, help="seconds until the fault is reverted (default: the fault's own)"
    )
    one.add_argument("--minutes", type=float, default=20, help="duration of the nemesis (default: 20)")
    one.add_argument(
        "--keep", action="store_true", help="also save the figures of every run in bench/results/"
    )
    one.add_argument("--seed", type=int, help="random seed of the nemesis, to repeat its faults")
    one.add_argument(
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
