"""The machines' network: a bridge per network of the plan, all in one namespace that has no way out.

The switch namespace routes between the plan's networks and holds the gateways' addresses. It has no link to the real
machine, so no packet for a plan address can leave it, whatever a machine sends.
"""

from lab import plan as plans
from lab.shell import run


def switch(lab):
    """Return the name of the namespace with the bridges."""
    return f"fanatico-{lab}-switch"


def namespace(lab, machine):
    """Return the name of a machine's network namespace."""
    return f"fanatico-{lab}-{machine}"


def namespaces(lab):
    """Return every network namespace of this lab that exists now."""
    names = [line.split()[0] for line in run(["ip", "netns", "list"]).stdout.splitlines() if line.strip()]
    return [name for name in names if name.startswith(f"fanatico-{lab}-")]


def create_switch(lab, plan):
    """Build the switch: bridges, gateway addresses, forwarding between them and nothing else."""
    name = switch(lab)
    run(["ip", "netns", "add", name])
    lines = ["link set lo up"]
    for number, (network, settings) in enumerate(plan["networks"].items()):
        _, gateway = plans.network_for(plan, settings["gateway"])
        lines += [
            # Without an address of its own a bridge takes that of one port, and changes it as cables come and go.
            f"link add br-{network} address 02:fa:00:00:00:{number:02x} type bridge forward_delay 0 stp_state 0",
            f"addr add {gateway} dev br-{network}",
            f"link set br-{network} up",
        ]
    batch(name, lines)
    run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def attach(lab, plan, machine, address):
    """Give a machine its namespace and a cable into the switch, in place of what an earlier machine left.

    :param address: the machine's address; decides its network, mask and gateway.
    """
    network, interface = plans.network_for(plan, address)
    gateway = plan["networks"][network]["gateway"]
    name = namespace(lab, machine)
    detach(lab, machine)
    run(["ip", "netns", "add", name])
    run(
        [
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            name,
            "type",
            "veth",
            "peer",
            "name",
            machine,
            "netns",
            switch(lab),
        ]
    )
    batch(switch(lab), [f"link set {machine} master br-{network} up"])
    batch(
        name,
        [
            "link set lo up",
            f"addr add {interface} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway}",
        ],
    )


def detach(lab, machine):
    """Take a machine's namespace and cable away. Harmless when they are gone."""
    # Open sockets of ended processes keep a namespace without a name alive for up to a minute, with its end of the cable.
    run(["ip", "-netns", switch(lab), "link", "del", machine], check=False)
    run(["ip", "netns", "del", namespace(lab, machine)], check=False)


def set_cable(lab, machine, plugged):
    """Pull or plug a machine's cable, on the switch's side; the machine sees its carrier go, as with a real one."""
    batch(switch(lab), [f"link set {machine} {'up' if plugged else 'down'}"])


def destroy(lab):
    """Remove every namespace of a lab; their interfaces go with them."""
    for name in namespaces(lab):
        run(["ip", "netns", "del", name])


def batch(name, lines):
    """Run `ip` commands inside a namespace, in one process."""
    run(["ip", "-netns", name, "-batch", "-"], text_input="\n".join(lines) + "\n")
