"""SSH from the master to a host of the lab, prepared as by an operator of real hosts."""

KEY = "/etc/salt/pki/master/ssh/salt-ssh.rsa"


def start(lab, node):
    """Start a host's sshd, which is masked in the lab, with its own host keys."""
    script = "rm /etc/systemd/system/ssh.service; ssh-keygen -A; systemctl daemon-reload; systemctl start ssh"
    lab.exec(node, ["sh", "-ec", script])


def prepare(lab, node):
    """Exchange keys as an operator does: the master's key on the host, the host's key on the master."""
    authorise(lab, node, public(lab))
    vouch(lab, node)


def public(lab):
    """Return the master's public key, generating it if necessary."""
    make = (
        f"install -d -m 700 {KEY.rpartition('/')[0]}; [ -e {KEY} ] || ssh-keygen -q -t ed25519 -N '' -f {KEY}"
    )
    lab.exec(lab.master, ["sh", "-ec", make])
    return lab.exec(lab.master, ["cat", f"{KEY}.pub"]).stdout


def vouch(lab, node):
    """Add the host's key to the master's known hosts."""
    address = lab.plan["nodes"][node]["address"]
    host_key = lab.exec(node, ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout
    script = "ssh-keygen -q -R $0 2>/dev/null; cat >> /root/.ssh/known_hosts"
    lab.machine(lab.master).exec(["sh", "-c", script, address], text_input=f"{address} {host_key}")


def authorise(lab, node, public):
    """Add the master's public key to root's authorized_keys, as preseed or cloud-init would."""
    script = "install -d -m 700 /root/.ssh; cat >> /root/.ssh/authorized_keys"
    lab.machine(node).exec(["sh", "-c", script], text_input=public)
