"""What each command of ./fanatico does."""

import importlib
import os

from lab import client, deploy, forward, machines, network, preflight, report, snapshot
from lab import plan as plans
from lab.errors import LabError
from lab.machine import ENVIRONMENT
from lab.machines import Lab
from lab.paths import STATE
from lab.progress import Progress

BENCHES = {
    "peers": "drills with others' timing",
    "cures": "healing",
    "edge": "JSON-RPC",
    "edge-flood": "a flood there, and the databases",
    "edge-hostile": "an hour of hostile traffic there",
    "hostile": "a lost host floods the Salt master",
}
DEPLOY = "Next, on the master: salt-run state.orchestrate orch.deploy"


def up(options):
    """Bring a lab up; see the parser's help."""
    preflight.check_root()
    lab = Lab(options.name)
    with lab.locked():
        running, state = lab.running(), lab.state
        if lab.paused:  # by a test run that was killed
            lab.pause(False)
        elif state.get("deployed") and len(running) == len(lab.machines):
            raise LabError(
                f"The lab {lab.name!r} is already up with {len(running)} machines; nothing was changed. "
                "`./fanatico status` shows it, `./fanatico machine add NAME` adds a machine."
            )
        preflight.check(STATE)
        STATE.mkdir(parents=True, exist_ok=True)
        progress = Progress(STATE / f"up-{lab.name}.log")
        try:
            bring_up(lab, progress, options)
        finally:
            progress.close()


def bring_up(lab, progress, options):
    """Go from whatever is there to machines that answer, and deploy unless told otherwise."""
    plan, deploys = options.plan, not options.no_deploy
    built = machines.obtain_image(progress)
    origin = origin_of(lab, options)
    if origin:
        bring_back(lab, progress, origin)
        deploys = False
    elif not lab.state.get("created"):
        lab.destroy()
        try:
            create(lab, progress, built, plan)
        except BaseException:
            lab.destroy()
            raise
    elif not lab.running():
        with progress.phase("boot"):
            lab.revive()
            lab.wait_booted(progress.awaiting)
    if deploys:
        with progress.phase("deploy"):
            deploy.orchestrate(lab, progress)
        lab.note(deployed=True)
        keep_deployed(lab, progress)
    lab.note(phases=progress.phases)
    summary(lab, progress, lab.state["deployed"])


def build_image(options):
    """Build the image if needed; see the parser's help."""
    preflight.check()
    machines.obtain_image(Progress())


def origin_of(lab, options):
    """Return the snapshot that `up` starts from, or None."""
    if options.origin:
        if lab.state.get("created"):
            raise LabError(
                f"The lab {lab.name!r} exists already; `./fanatico snapshot restore {options.origin}` puts it back."
            )
        return snapshot.find(options.origin)
    if options.fresh or options.no_deploy or lab.state.get("created"):
        return None
    kept = snapshot.automatic(*([options.plan] if options.plan else []))
    return kept if kept.facts else None


def bring_back(lab, progress, origin):
    """Make a lab what it was when a snapshot was saved, and boot it."""
    with progress.phase(f"snapshot {origin.name}"):
        deploy.restore(lab, origin, progress.awaiting)


def keep_deployed(lab, progress):
    """Keep what was just deployed as the snapshot that the next `up` of this tree starts from, unless there is one."""
    kept = snapshot.automatic(lab.folder / "plan.sls")
    if kept.facts or lab.site_changed():
        return
    with progress.phase("snapshot"):
        progress.awaiting("every machine to be off")
        snapshot.save(lab, kept.name)
        snapshot.prune(kept)
        deploy.boot(lab, progress.awaiting)


def snapshots(options):
    """Save, restore, list or drop; see the parser's help."""
    preflight.check_root()
    if options.verb == "list":
        for line in report.snapshots(snapshot.everything()):
            print(line)
        return
    if not options.snapshot:
        raise LabError(f"`snapshot {options.verb}` needs a name: `./fanatico snapshot {options.verb} NAME`.")
    if options.verb == "drop":
        snapshot.drop(options.snapshot)
        return
    lab = Lab(options.name)
    with lab.locked():
        lab.require_created()
        progress = Progress()
        if options.verb == "restore":
            bring_back(lab, progress, snapshot.find(options.snapshot))
            if lab.state["deployed"]:
                for line in ["", *reached(lab)]:
                    progress.say(line)
        else:
            with progress.phase(f"snapshot {options.snapshot}"):
                snapshot.save(lab, options.snapshot)
                deploy.boot(lab, progress.awaiting)


def create(lab, progress, built, plan=None):
    """Make a lab's machines, boot them and connect their minions to the master."""
    with progress.phase("machines"):
        progress.awaiting("disks, network and keys")
        lab.create(built, *([plan] if plan else []))
        lab.give_keys()
        lab.power_on_all()
        lab.wait_booted(progress.awaiting)
    with progress.phase("salt"):
        progress.awaiting("the master's own states")
        deploy.prepare_master(lab)
        progress.awaiting("the minions")
        deploy.connect_minions(lab)
        lab.salt_run("fanatico.wait_minions", timeout=120)
    lab.note(created=True)


def summary(lab, progress, deployed):
    """Print what a person wants to see after `up`."""
    progress.say()
    for line in report.machines(lab):
        progress.say(line)
    progress.say()
    if deployed:
        answers = lab.salt("*", "fanatico.health")
        for line in [*report.health(answers, lab.plan["nodes"]), "", *report.services(lab.plan), ""]:
            progress.say(line)
        for line in [*reached(lab), ""]:
            progress.say(line)
    for line in report.phases(progress):
        progress.say(line)
    option = lab.option()
    tries = (
        [
            f"sudo ./fanatico exec{option} {lab.master} -- salt '*' fanatico.health --out=yaml",
            f"sudo ./fanatico exec{option} {lab.master} -- salt-run fanatico.status",
            f"sudo ./fanatico exec{option} haproxy1 -- systemctl stop haproxy   # then: salt-run fanatico.history",
        ]
        if deployed
        else [f"sudo ./fanatico exec{option} {lab.master} -- salt-run state.orchestrate orch.deploy"]
    )
    for line in ["", "Try next:", *[f"  {line}" for line in tries]]:
        progress.say(line)


def down(options):
    """Remove a lab, and with --purge everything the lab ever kept."""
    preflight.check_root()
    lab = Lab(options.name)
    gone = f"The lab {lab.name!r} is gone" if lab.state else f"There was no lab {lab.name!r}"
    with lab.locked():
        lab.destroy()
        if options.purge:
            others = machines.names()
            if others:
                raise LabError(
                    f"{gone}; the image stays, since the lab {others[0]!r} uses it. "
                    f"Next: `./fanatico down --purge --name {others[0]}`"
                )
            machines.purge_cache()
        lab.forget()
    print(
        gone
        + (
            ", its snapshots, the image and the packages too."
            if options.purge
            else "; the image and the snapshots stay for the next `up`."
        )
    )


def status(options):
    """Print machines and cluster state; exit code 1 when the cluster is critical or there is no lab."""
    preflight.check_root()
    lab = Lab(options.name)
    for line in report.machines(lab):
        print(line)
    print(f"\n{report.forwarded(lab, forward.running(lab))}")
    if lab.state.get("deployed") and lab.machine(lab.master).leader():
        print()
        said = lab.salt_run("fanatico.status", check=False)
        print(said.stdout.rstrip() or said.stderr.rstrip())
        return said.returncode
    return 0


def execute(options):
    """Run a command on a machine with this terminal as its own."""
    preflight.check_root()
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise LabError("exec needs a command: `./fanatico exec MACHINE -- CMD...`.")
    if argv[0].startswith("--"):  # of another lab's machine, perhaps: nothing is run
        raise LabError(
            f"{argv[0]} comes after the machine, so it is taken for the command; put it before: "
            f"`./fanatico exec {argv[0]} ... {options.machine} -- CMD...`."
        )
    enter(Lab(options.name).machine(options.machine), argv)


def shell(options):
    """Open a shell on a machine."""
    preflight.check_root()
    enter(Lab(options.name).machine(options.machine), ["bash", "-l"])


def enter(machine, argv, environment=None):
    """Replace this process by a command on a machine.

    :param environment: variables beside the usual ones.
    """
    command = machine.exec_argv(argv)
    terminal = {"TERM": os.environ.get("TERM", "dumb")}
    os.execvpe(command[0], command, {**ENVIRONMENT, **terminal, **(environment or {})})


def reach(options):
    """Forward the lab's services to 127.0.0.1 and show how to use them; with --stop, end that."""
    preflight.check_root()
    lab = Lab(options.name)
    forward.targets(lab.name, lab.plan)  # a lab that does not exist is to have no lock either
    with lab.locked():
        if options.stop:
            forward.stop(lab)
            print(f"Nothing of the lab {lab.name!r} is forwarded any more.")
            return
        for line in reached(lab):
            print(line)


def reached(lab):
    """Start what forwards a lab's services and return lines that say how to use them."""
    ports = forward.start(lab)
    return report.reach(lab, ports, client.files(lab), client.write_files(lab))


def psql(options):
    """Replace this process by a psql on a database machine that is on, as the application, through the virtual IP."""
    preflight.check_root()
    lab = Lab(options.name)
    on = [name for name in lab.nodes("patroni") if lab.machine(name).leader()]
    if not on:
        raise LabError(f"No database machine of the lab {lab.name!r} is on; `./fanatico status` shows it.")
    argv, environment = client.psql(lab, options.replica)
    enter(lab.machine(on[0]), [*argv, *options.rest], environment)


def power(options):
    """Cut or restore a machine's power."""
    preflight.check_root()
    machine = Lab(options.name).machine(options.machine)
    machine.power_on() if options.state == "on" else machine.power_off()


def cable(options):
    """Pull or plug a machine's cable."""
    preflight.check_root()
    lab = Lab(options.name)
    lab.machine(options.machine)
    network.set_cable(lab.name, options.machine, plugged=options.state == "plug")


def machine(options):
    """Add or remove a machine; see the parser's help."""
    preflight.check_root()
    lab = Lab(options.name)
    with lab.locked():
        if lab.master not in lab.running():
            raise LabError(f"The lab {lab.name!r} is off; start it with `./fanatico up`.")
        print(add_machine(lab, options) if options.verb == "add" else remove_machine(lab, options.machine))


def remove_machine(lab, name):
    """Remove a machine, and return what there is to say."""
    lab.remove(name)
    return f"{name} is gone. {DEPLOY}"


def add_machine(lab, options):
    """Boot one more machine as the options, the tree's plan or the plan's free addresses say; return what there is to say."""
    line = plans.load()["nodes"].get(options.machine, {})
    roles = options.roles or line.get("roles") or []
    address = options.address or line.get("address")
    if not address and not roles:
        raise LabError(
            f"Nothing says what {options.machine} is: write its line into pillar/plan.sls, or give --role or --address."
        )
    taken = [machine.address for machine in lab.machines.values()]
    address = address or plans.free_address(lab.plan, roles[0], taken)
    if options.bare:
        lab.add_bare(options.machine, address)
        return (
            f"{options.machine} has booted at {address}, with sshd only. Next: its line into {lab.folder / 'plan.sls'}, then "
            "docs/fleet.md, 'Add a node'."
        )
    deploy.add(lab, options.machine, address, roles)
    return f"{options.machine} has booted at {address} and its minion answers. {DEPLOY}"


def test(options):
    """Run test layers."""
    from lab import testing

    return testing.run(options.layers, options.rest, options.lab, options.slowest)


def drill(options):
    """Break something under load; see the parser's help."""
    from lab.drill import command  # its packages are installed for this command alone

    return command.main(options)


def bench(options):
    """Measure with the module of bench/ that the first word names, else with bench/figures.py."""
    name, *rest = options.rest or [""]
    if name in BENCHES:
        return importlib.import_module(f"bench.{name.replace('-', '_')}").main(rest)
    return importlib.import_module("bench.figures").main(options.rest)
