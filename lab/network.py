"""The machines' network: one bridge for each network of the plan, all in one isolated namespace.

The switch namespace routes between the plan's networks and holds the gateways' addresses. It has no link to the real
machine, so no packet can leave it.
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
    """Create the switch: bridges, gateway addresses, and forwarding between them."""
    name = switch(lab)
    run(["ip", "netns", "add", name])
    lines = ["link set lo up"]
    for number, (network, settings) in enumerate(plan["networks"].items()):
        _, gateway = plans.network_for(plan, settings["gateway"])
        lines += [
            # Without a fixed MAC address a bridge takes that of a port and changes it when cables are added or removed.
            f"link add br-{network} address 02:fa:00:00:00:{number:02x} type bridge forward_delay 0 stp_state 0",
            f"addr add {gateway} dev br-{network}",
            f"link set br-{network} up",
        ]
    batch(name, lines)
    run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def attach(lab, plan, machine, address):
    """Create a machine's namespace and its cable to the switch; what an earlier machine left is removed.

    :param address: the machine's address; it determines network, mask and gateway.
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
    """Remove a machine's namespace and cable. Harmless when they do not exist."""
    # Open sockets of ended processes keep a deleted namespace and its end of the cable alive for up to a minute.
    run(["ip", "-netns", switch(lab), "link", "del", machine], check=False)
    run(["ip", "netns", "del", namespace(lab, machine)], check=False)


def set_cable(lab, machine, plugged):
    """Pull or plug a machine's cable at the switch; the machine loses its carrier, as with a real cable."""
    batch(switch(lab), [f"link set {machine} {'up' if plugged else 'down'}"])


def destroy(lab):
    """Remove every namespace of a lab, with all interfaces."""
    for name in namespaces(lab):
        run(["ip", "netns", "del", name])


def batch(name, lines):
    """Run a list of `ip` commands inside a namespace, in one process."""
    run(["ip", "-netns", name, "-batch", "-"], text_input="\n".join(lines) + "\n")
