"""One machine: a folder, a systemd-nspawn process, a cgroup, a network namespace."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lab import cgroup, network
from lab.errors import LabError
from lab.shell import delete, run

# Capabilities that nspawn does not grant and the components need: VRRP, nftables, process priorities, locked memory.
CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE,CAP_IPC_LOCK"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # python-etcd3 cannot be imported with protobuf's C backend.
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
}


class Machine:
    """A machine of a lab. Salt decides what runs inside."""

    def __init__(
        self, lab: str, name: str, folder: Path | str, address: str, binds: Iterable[str] = ()
    ) -> None:
        self.lab = lab
        self.name = name
        self.folder = Path(folder)
        self.address = address
        self.binds = list(binds)  # nspawn's --bind / --bind-ro arguments
        self.root = self.folder / "root"
        self.cgroup = cgroup.path(lab, name)

    # --- disk ---------------------------------------------------------------------------------------------------

    def create(self, layers: Iterable[Path | str]) -> None:
        """Make the machine's own, empty, writable layer.

        :param layers: the read-only folders below it, the uppermost first; the image is the last.
        """
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "layers").write_text("".join(f"{layer}\n" for layer in layers))
        self.mount()

    def layers(self) -> list[Path]:
        """Return the read-only folders below the machine's writable layer, the uppermost first."""
        return [Path(line) for line in (self.folder / "layers").read_text().splitlines()]

    def mount(self) -> None:
        """Mount the machine's disk, if it is not mounted yet."""
        if not os.path.ismount(self.root):
            lower = ":".join(str(layer) for layer in self.layers())
            options = f"lowerdir={lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
            run(["mount", "-t", "overlay", "overlay", "-o", options, self.root])

    def release(self, target: Path) -> None:
        """Move the writable layer of a machine that is off to another place, where it must stay unchanged.

        :param target: a path on the same file system that does not exist.
        """
        self.unmount()
        (self.folder / "upper").rename(target)
        delete(self.folder / "work")

    def take_back(self, source: Path) -> None:
        """Undo `release`; harmless where it has not been called."""
        if Path(source).exists() and not (self.folder / "upper").exists():
            Path(source).rename(self.folder / "upper")
        (self.folder / "work").mkdir(exist_ok=True)
        self.mount()

    def unmount(self) -> None:
        """Unmount the machine's disk, if it is mounted."""
        if os.path.ismount(self.root):
            run(["umount", self.root])

    def delete(self) -> None:
        """Power off and remove the machine with its disk."""
        self.power_off()
        self.unmount()
        delete(self.folder)
        network.detach(self.lab, self.name)

    # --- power --------------------------------------------------------------------------------------------------

    def power_on(self, without: Iterable[str] = ()) -> None:
        """Start the machine; returns at once. Harmless when it runs.

        :param without: units that do not start in this boot.
        """
        if self.leader():
            return
        cgroup.kill(self.cgroup)
        (self.cgroup / "exec").mkdir(parents=True)
        (self.cgroup / "nspawn").mkdir()
        command = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}",
            f"--machine={self.lab}-{self.name}", f"--hostname={self.name}",
            "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            f"--network-namespace-path=/run/netns/{network.namespace(self.lab, self.name)}",
            f"--capability={CAPABILITIES}", "--kill-signal=SIGRTMIN+3", *self.binds,
            *(f"systemd.mask={unit}" for unit in without),
        ]  # fmt: skip
        # A mount namespace with only cgroup v2 in it: where v1 is mounted too, the machines would share one cgroup root
        # and their units would fail at random.
        prepare = (
            'echo $$ > "$1/nspawn/cgroup.procs"; umount -l /sys/fs/cgroup; '
            'mount -t cgroup2 cgroup2 /sys/fs/cgroup; shift; exec "$@"'
        )
        with open(self.folder / "console.log", "ab") as console:
            process = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--propagation",
                    "private",
                    "bash",
                    "-ec",
                    prepare,
                    "machine",
                    self.cgroup,
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
            )
        # Every program up to nspawn is started by exec, so this pid is nspawn's.
        (self.folder / "nspawn.pid").write_text(str(process.pid))

    def power_off(self) -> None:
        """Cut the power: kill every process at once, without a chance to write anything."""
        cgroup.kill(self.cgroup)

    def shut_down(self, timeout: float = 60) -> None:
        """Shut the machine down cleanly and wait until it is off.

        :raises LabError: when it still runs after `timeout` seconds.
        """
        nspawn = self._nspawn()
        if nspawn:
            os.kill(nspawn, signal.SIGTERM)
        self._until(lambda: not self._nspawn(), timeout, "shut down")
        self.power_off()

    def freeze(self, frozen: bool = True) -> None:
        """Freeze or thaw every process of the machine, like a paused virtual machine."""
        (self.cgroup / "cgroup.freeze").write_text("1" if frozen else "0")

    def leader(self) -> int | None:
        """Return the pid of the machine's init on the real machine, or None when the machine is off."""
        nspawn = self._nspawn()
        if not nspawn:
            return None
        try:
            children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
            return next((int(child) for child in children if _is_init(child)), None)
        except OSError:  # a process has just ended
            return None

    def _nspawn(self) -> int | None:
        """Return the pid of the machine's systemd-nspawn, or None. A pid that another process has now does not count."""
        try:
            pid = int((self.folder / "nspawn.pid").read_text())
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # reap our own child: a zombie would count as running
            ours = f"/fanatico-lab/{self.lab}/{self.name}/" in Path(f"/proc/{pid}/cgroup").read_text()
        except (OSError, ValueError):
            return None
        return pid if ours else None

    def wait_booted(self, timeout: float = 60) -> None:
        """Wait until systemd inside has finished booting.

        :param timeout: seconds.
        :raises LabError: with the last lines of the console, when it has not by then.
        """

        def booted() -> bool:
            if not self.leader():
                return False
            state = self.exec(["systemctl", "is-system-running"], check=False, timeout=20).stdout.strip()
            return state in ("running", "degraded")

        self._until(booted, timeout, "boot")

    # --- commands -----------------------------------------------------------------------------------------------

    def exec_argv(self, argv: Iterable[object]) -> list[str]:
        """Return the command line that runs `argv` inside the machine.

        :raises LabError: when the machine is off.
        """
        leader = self.leader()
        if not leader:
            raise LabError(f"The machine {self.name} is off. Switch it on: ./fanatico power on {self.name}")
        if cgroup.is_frozen(self.cgroup.parent):
            raise LabError(
                f"The lab of {self.name} is paused while `./fanatico test` runs. "
                "Wait until the tests have ended; if they were killed, resume the lab: sudo ./fanatico up"
            )
        enter = [
            "nsenter",
            f"--target={leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
            "--",
        ]
        # The command joins the machine's cgroup, so a power cut ends it too.
        join = 'echo $$ > "$1/exec/cgroup.procs"; shift; exec "$@"'
        return ["bash", "-c", join, "exec", str(self.cgroup), *enter, *[str(word) for word in argv]]

    def exec(
        self, argv: Sequence[object], timeout: float = 60, check: bool = True, text_input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the machine as root and return its CompletedProcess.

        :param timeout: seconds.
        :param check: raise when the exit code is not 0.
        :raises LabError: when the machine is off, at a timeout or, with `check`, for an exit code other than 0.
        """
        try:
            result = run(
                self.exec_argv(argv), timeout=timeout, check=False, text_input=text_input, env=ENVIRONMENT
            )
        except LabError as error:
            raise LabError(f"{self.name}: {error}") from error
        if check and result.returncode != 0:
            said = (result.stdout.strip() + "\n" + result.stderr.strip()).strip()[-3000:]
            words = " ".join(str(word) for word in argv)[:200]
            raise LabError(f"{self.name}: `{words}` failed with exit code {result.returncode}:\n{said}")
        return result

    def _until(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                tail = (self.folder / "console.log").read_text(errors="replace").splitlines()[-6:]
                raise LabError(
                    f"{self.name} did not {what} within {timeout} s. Last lines of its console: "
                    + " / ".join(tail)
                )
            time.sleep(0.1)


def _is_init(pid: str) -> bool:
    """Whether a process is pid 1 of a namespace: while nspawn starts a machine, it has another child for a moment."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"
