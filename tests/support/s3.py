"""A real S3 server (rclone) over TLS, in a network namespace of a lab; its objects are plain files."""

import subprocess
import sys
from pathlib import Path

from lab import network
from tests.support import pki, wait_until

ADDRESS, PORT, REGION, BUCKET = "10.0.4.20", 9000, "us-east-1", "backups"
KEY, SECRET = "AKIA5QW7RZ3M9TN2XB6D", "vYq8Lw2Kx7Rn4Tz9Hb3Mf6Jp1Gs5Dc0Wa8Xe2Uo4"
_NAME = "s3"


class Server:
    """The server. ``folder``: for its certificate and objects."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.process = lab, Path(folder), None
        self.authority = pki.Authority("S3 test authority")
        self.objects = self.folder / "objects"
        (self.objects / BUCKET).mkdir(parents=True)
        self.certify(self.authority)
        network.attach(lab.name, lab.plan, _NAME, ADDRESS)

    def certify(self, authority):
        """Give the server a certificate of an authority; it has to be started again."""
        certificate, key = authority.issue("s3", [ADDRESS], ["serverAuth"])
        (self.folder / "s3.crt").write_text(certificate)
        (self.folder / "s3.key").write_text(key)

    def start(self):
        """Start it and wait until it listens."""
        namespace = network.namespace(self.lab.name, _NAME)
        own = ["--addr", f"{ADDRESS}:{PORT}", "--auth-key", f"{KEY},{SECRET}"]
        tls = ["--cert", self.folder / "s3.crt", "--key", self.folder / "s3.key"]
        program = Path(sys.executable).parent / "rclone"
        with open(self.folder / "s3.log", "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, program, "serve", "s3", *own, *tls, self.objects],
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)},
            )
        wait_until(self.listens, 20, "the S3 server to listen")

    def listens(self):
        """Whether it listens."""
        shown = ["ip", "netns", "exec", network.namespace(self.lab.name, _NAME), "ss", "-Htln"]
        found = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        return f":{PORT} " in found

    def stop(self):
        """Stop it: connections are refused."""
        if self.process:
            self.process.terminate()
            self.process.wait(10)
        self.process = None

    def cut(self, is_cut=True):
        """Pull or plug its cable: packets are lost without a word."""
        network.set_cable(self.lab.name, _NAME, plugged=not is_cut)

    def destroy(self):
        """Stop it and remove its network."""
        self.stop()
        network.detach(self.lab.name, _NAME)

    def settings(self, **other):
        """The pillar's ``backup:s3``."""
        return {
            "endpoint": ADDRESS,
            "port": PORT,
            "region": REGION,
            "bucket": BUCKET,
            "uri_style": "path",
            "ca": self.authority.certificate,
            **other,
        }

    def names(self, folder=""):
        """The names of the objects below a folder of the bucket."""
        root = self.objects / BUCKET
        return sorted(str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file())


def import_keys(lab):
    """Import the keys of the server as an operator does; their values pass through a pipe."""
    file = "/root/s3-keys.yml"
    lines = f"BACKUP_S3_KEY: '{KEY}'\nBACKUP_S3_KEY_SECRET: '{SECRET}'\n"
    write = lab.machine(lab.master).exec_argv(["sh", "-c", f"umask 077; cat >{file}"])
    subprocess.run(write, input=lines, text=True, check=True, timeout=30)
    lab.salt_run("fanatico.secrets_import", file)
    lab.exec(lab.master, ["shred", "-u", file])
