"""The commands of ./fanatico."""

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
    "peers": "drills with the timing of other tools",
    "cures": "time to heal",
    "edge": "JSON-RPC through HAProxy",
    "edge-flood": "database clients during a flood of the edge",
    "edge-hostile": "an hour of hostile traffic at the edge",
    "restore": "the cluster restored to a moment, and undone",
    "hostile": "a compromised host floods the Salt master",
}
DEPLOY = "Next, on the master: salt-run state.orchestrate orch.deploy"


def up(options):
    """Bring a lab up; see the parser's help."""
    preflight.check_root()
    lab = Lab(options.name)
    with lab.locked():
        running, state = lab.running(), lab.state
        if lab.paused:  # a killed test run has left it so
            lab.pause(False)
        elif state.get("deployed") and len(running) == len(lab.machines):
            raise LabError(
                f"The lab {lab.name!r} is already up with {len(running)} machines; nothing was changed. "
                "Show it: ./fanatico status. Add a machine: ./fanatico machine add NAME."
            )
        preflight.check(STATE)
        STATE.mkdir(parents=True, exist_ok=True)
        progress = Progress(STATE / f"up-{lab.name}.log")
        try:
            bring_up(lab, progress, options)
        finally:
            progress.close()


def bring_up(lab, progress, options):
    """Create, restore or boot the machines, and deploy unless the options exclude it."""
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
                f"The lab {lab.name!r} already exists. Restore it: ./fanatico snapshot restore {options.origin}{lab.option()}"
            )
        return snapshot.find(options.origin)
    if options.fresh or options.no_deploy or lab.state.get("created"):
        return None
    kept = snapshot.automatic(*([options.plan] if options.plan else []))
    return kept if kept.facts else None


def bring_back(lab, progress, origin):
    """Restore a lab from a snapshot and boot it."""
    with progress.phase(f"snapshot {origin.name}"):
        deploy.restore(lab, origin, progress.awaiting)


def keep_deployed(lab, progress):
    """Save the deployed lab as the snapshot from which the next `up` of this tree starts, unless there is one."""
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
        raise LabError(f"`snapshot {options.verb}` needs a name: ./fanatico snapshot {options.verb} NAME")
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
    """Create a lab's machines, boot them and connect their minions to the master."""
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
    """Print the result of `up`: machines, health, addresses, phases and next commands."""
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
    """Remove a lab, and with --purge the image, the snapshots and the packages."""
    preflight.check_root()
    lab = Lab(options.name)
    gone = f"The lab {lab.name!r} is gone" if lab.state else f"There was no lab {lab.name!r}"
    with lab.locked():
        lab.destroy()
        if options.purge:
            others = machines.names()
            if others:
                raise LabError(
                    f"{gone}; the image stays, because the lab {others[0]!r} uses it. "
                    f"Next: ./fanatico down --purge --name {others[0]}"
                )
            machines.purge_cache()
        lab.forget()
    print(
        gone
        + (
            ", and so are its snapshots, the image and the packages."
            if options.purge
            else "; the image and the snapshots stay for the next `up`."
        )
    )


def status(options):
    """Print the machines and the state of the cluster; exit code 1 if the cluster is critical or there is no lab."""
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
    """Run a command on a machine, in this terminal."""
    preflight.check_root()
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise LabError("exec needs a command: ./fanatico exec MACHINE -- CMD...")
    if argv[0].startswith("--"):  # perhaps a machine of another lab was meant: run nothing
        raise LabError(
            f"The option {argv[0]} must come before the machine: "
            f"./fanatico exec {argv[0]} ... {options.machine} -- CMD..."
        )
    enter(Lab(options.name).machine(options.machine), argv)


def shell(options):
    """Open a shell on a machine."""
    preflight.check_root()
    enter(Lab(options.name).machine(options.machine), ["bash", "-l"])


def enter(machine, argv, environment=None):
    """Replace this process by a command on a machine.

    :param environment: additional environment variables.
    """
    command = machine.exec_argv(argv)
    terminal = {"TERM": os.environ.get("TERM", "dumb")}
    os.execvpe(command[0], command, {**ENVIRONMENT, **terminal, **(environment or {})})


def reach(options):
    """Forward the lab's services to 127.0.0.1 and show how to use them; with --stop, stop forwarding."""
    preflight.check_root()
    lab = Lab(options.name)
    forward.targets(
        lab.name, lab.plan
    )  # raises for a lab that does not exist, before its lock file is created
    with lab.locked():
        if options.stop:
            forward.stop(lab)
            print(f"Forwarding from the lab {lab.name!r} has stopped.")
            return
        for line in reached(lab):
            print(line)


def reached(lab):
    """Start forwarding a lab's services and return lines that show how to use them."""
    ports = forward.start(lab)
    return report.reach(lab, ports, client.files(lab), client.write_files(lab))


def psql(options):
    """Replace this process by psql on a running database machine, as the application user, through the virtual IP."""
    preflight.check_root()
    lab = Lab(options.name)
    on = [name for name in lab.nodes("patroni") if lab.machine(name).leader()]
    if not on:
        raise LabError(
            f"All database machines of the lab {lab.name!r} are off. Show them: ./fanatico status{lab.option()}"
        )
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
            raise LabError(f"The lab {lab.name!r} is off. Start it: sudo ./fanatico up{lab.option()}")
        print(add_machine(lab, options) if options.verb == "add" else remove_machine(lab, options.machine))


def remove_machine(lab, name):
    """Remove a machine and return the message to print."""
    lab.remove(name)
    return f"{name} is removed. {DEPLOY}"


def add_machine(lab, options):
    """Boot one more machine and return the message to print.

    Its roles and address come from the options, from pillar/plan.sls or from the plan's free addresses.
    """
    line = plans.load()["nodes"].get(options.machine, {})
    roles = options.roles or line.get("roles") or []
    address = options.address or line.get("address")
    if not address and not roles:
        raise LabError(
            f"The roles and address of {options.machine} are unknown. Add it to pillar/plan.sls, or pass --role or --address."
        )
    taken = [machine.address for machine in lab.machines.values()]
    address = address or plans.free_address(lab.plan, roles[0], taken)
    if options.bare:
        lab.add_bare(options.machine, address)
        return (
            f"{options.machine} has booted at {address}, with sshd only. Next: add its line to {lab.folder / 'plan.sls'}, then "
            "follow docs/fleet.md, 'Add a node'."
        )
    deploy.add(lab, options.machine, address, roles)
    return f"{options.machine} has booted at {address} and its minion answers. {DEPLOY}"


def test(options):
    """Run test layers."""
    from lab import testing

    return testing.run(options.layers, options.rest, options.lab, options.slowest)


def drill(options):
    """Inject faults under load; see the parser's help."""
    from lab.drill import command  # only this command has its packages installed

    return command.main(options)


def bench(options):
    """Run the benchmark that the first argument names, else bench/figures.py."""
    name, *rest = options.rest or [""]
    if name in BENCHES:
        return importlib.import_module(f"bench.{name.replace('-', '_')}").main(rest)
    return importlib.import_module("bench.figures").main(options.rest)
