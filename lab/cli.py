"""What ./fanatico takes: its words and options. What each command does is in lab/commands.py."""

import argparse
import sys

from lab import commands, report
from lab.errors import LabError


def main(arguments=None):
    """Run one command and return its exit code. Every fault a person can cause ends in one sentence."""
    words, rest = split(list(sys.argv[1:] if arguments is None else arguments))
    options = parser().parse_args(words)
    options.rest = rest
    try:
        return options.run(options) or 0
    except LabError as error:
        print(report.wrap(f"fanatico: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fanatico: stopped by you; `./fanatico status` shows what stands.", file=sys.stderr)
        return 130


def split(words):
    """Return (our words, the words of another program): pytest's and psql's are behind `--`, the bench's behind its name."""
    if words[:1] == ["bench"]:
        return words[:1], words[1:]
    if words[:1] in (["test"], ["psql"]) and "--" in words:
        return words[: words.index("--")], words[words.index("--") + 1 :]
    return words, []


def parser():
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="./fanatico", description="The Fanatico infrastructure on one machine: a lab of real systems."
    )
    known = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, help, **keywords):
        one = known.add_parser(name, help=help, description=help, **keywords)
        one.set_defaults(run=run)
        one.add_argument(
            "--name",
            default="default",
            help="which lab (default: default); labs of different names never meet",
        )
        return one

    for add in (_of_labs, _of_machines, _of_services, _of_tests, _of_drills):
        add(command)
    return top


def _of_labs(command):
    one = command("up", commands.up, "build the image if needed, boot every machine and deploy")
    one.add_argument(
        "--no-deploy", action="store_true", help="stop when the minions answer, before orch.deploy"
    )
    one.add_argument("--plan", default=None, help="another plan file than pillar/plan.sls")
    one.add_argument(
        "--from", dest="origin", metavar="SNAPSHOT", help="start from this snapshot; nothing is deployed"
    )
    one.add_argument(
        "--fresh",
        action="store_true",
        help="deploy to bare machines, even where this tree was deployed before",
    )
    command("image", commands.build_image, "build the image that machines start from, unless there is one")
    one = command("snapshot", commands.snapshots, "save, restore, list or drop a snapshot of the whole lab")
    one.add_argument("verb", choices=["save", "restore", "list", "drop"])
    one.add_argument(
        "snapshot",
        nargs="?",
        metavar="SNAPSHOT",
        help="a name; `deployed` is the one that `up` keeps by itself",
    )
    one = command("down", commands.down, "remove the lab: processes, mounts, namespaces, cgroups, files")
    one.add_argument("--purge", action="store_true", help="drop the image and the downloaded packages too")


def _of_machines(command):
    command("status", commands.status, "show the machines and the cluster's state")
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
    one = command(
        "machine", commands.machine, "add one more machine to the lab, or remove one; nothing is deployed"
    )
    one.add_argument("verb", choices=["add", "remove"])
    one.add_argument("machine")
    one.add_argument(
        "--address", help="for add; default: its line in pillar/plan.sls, or the next free one of its role"
    )
    one.add_argument(
        "--role",
        action="append",
        dest="roles",
        help="for add, also several times; default: its line in pillar/plan.sls",
    )
    one.add_argument(
        "--bare",
        action="store_true",
        help="for add: only Debian with sshd, for docs/fleet.md; not in the plan, no Salt",
    )


def _of_services(command):
    one = command(
        "forward",
        commands.reach,
        "make the lab's services reachable on 127.0.0.1, which `up` does too, and show how",
    )
    one.add_argument("--stop", action="store_true", help="end that; `down` does too")
    one = command(
        "psql", commands.psql, "open psql as the application, through the virtual IP: psql [-- ARGUMENTS...]"
    )
    one.add_argument("--replica", action="store_true", help="ask a replica")


def _of_tests(command):
    one = command("test", commands.test, "run the tests: all layers, those that are named, `fast` or `full`")
    one.add_argument("layers", nargs="*", metavar="LAYER")
    one.add_argument(
        "--lab", default=None, help="let the lab's tests use this running lab instead of one of their own"
    )
    one.add_argument(
        "--slowest",
        type=int,
        default=0,
        metavar="N",
        help="list the N slowest tests and what their time went to",
    )


def _of_drills(command):
    one = command("drill", commands.drill, "break something under load and measure what a client sees of it")
    one.add_argument(
        "fault", metavar="FAULT", help="one of `drill list`, several with commas, short, all, or nemesis"
    )
    one.add_argument("--runs", type=int, default=1, help="how often (default: 1)")
    one.add_argument("--hold", type=float, help="seconds until it is healed, other than the fault's own")
    one.add_argument(
        "--minutes", type=float, default=20, help="how long a nemesis breaks things (default: 20)"
    )
    one.add_argument(
        "--keep", action="store_true", help="keep the figures of every run in bench/results/ as well"
    )
    one.add_argument("--seed", type=int, help="of the nemesis, to have the same faults again")
    one.add_argument(
        "--report",
        default=None,
        help="a new folder for the report and the raw lines (default: drills/<time>)",
    )
    command(
        "bench",
        commands.bench,
        "measure what the README promises on this machine and keep the raw numbers; "
        + "; ".join(f"`bench {name}`: {what}" for name, what in commands.BENCHES.items()),
    )
