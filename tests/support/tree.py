"""Compile the state tree for a minion with Salt's compiler, without a minion process."""

import copy
import inspect
from functools import cached_property
from pathlib import Path

import salt.config
import salt.loader
import salt.state
import salt.utils.args

from tests.support import REPO

# The lab's machines: Debian 13 with systemd, whatever this machine runs.
GRAINS = {
    "os": "Debian",
    "os_family": "Debian",
    "osfullname": "Debian GNU/Linux",
    "osfinger": "Debian-13",
    "oscodename": "trixie",
    "osrelease": "13",
    "osmajorrelease": 13,
    "osarch": "amd64",
    "cpuarch": "x86_64",
    "kernel": "Linux",
    "init": "systemd",
    "num_cpus": 2,
    "mem_total": 4096,
    "virtual": "container",
    "virtual_subtype": "systemd-nspawn",
    "pythonexecutable": "/opt/salt/bin/python3",
    "pythonversion": [3, 13, 5, "final", 0],
    "saltversioninfo": [3008, 3],
    "fqdn_ip4": [],
    "ipv4": ["127.0.0.1"],
}

# States whose module loads only with systemd, apt or root; they may be missing on this machine.
SYSTEM_STATES = {"service", "pkg", "pkgrepo", "sysctl", "user", "group", "mount", "kmod", "host", "network"}


def sls_names(root=REPO / "salt"):
    """Return the dotted names of all state SLS under *root*, without the top file and the reactor."""
    names = []
    for path in sorted(root.rglob("*.sls")):
        relative = path.relative_to(root)
        if relative.parts[0] in ("_modules", "orch", "reactor", "artifacts") or relative.name == "top.sls":
            continue
        names.append(
            ".".join((relative.parent if relative.stem == "init" else relative.with_suffix("")).parts)
        )
    return names


def reused(make):
    """Wrap `make`, a function that creates a Node, so that it reuses the last Node for the same arguments."""
    kept = {}

    def made(*arguments):
        if kept.get("arguments") != arguments or kept["node"] is not Node.last:
            kept.update(arguments=arguments, node=make(*arguments))
        return kept["node"]

    return made


class Node:
    """A minion with an id and a pillar root.

    node
        The minion id.
    pillar_root
        A directory built by `tests.support.pillar.build`.
    scratch
        A directory for the loader's caches.
    override
        Additional pillar, as in `salt-run state.orchestrate x pillar=...`.
    modules
        `module_dirs`; `tests.support.MODULES` for a master.
    """

    # The last Node that has compiled: Salt's renderers use its options, so an earlier Node would get its id.
    last = None

    def __init__(self, node, pillar_root, scratch, override=None, modules=(str(REPO),)):
        self.id = node
        self._override = override
        opts = salt.config.minion_config(None)
        root = Path(scratch)
        opts.update(
            id=node,
            file_client="local",
            root_dir=str(root),
            cachedir=str(root / "cache"),
            extension_modules=str(root / "extmods"),
            file_roots={"base": [str(REPO / "salt")]},
            pillar_roots={"base": [str(pillar_root)]},
            module_dirs=list(modules),
            saltenv="base",
            grains={**GRAINS, "id": node, "host": node, "nodename": node, "fqdn": node},
            # Not needed to compile, and slow.
            enable_fqdns_grains=False,
            fileserver_backend=["roots"],
        )
        self.opts = opts

    @cached_property
    def highstate(self):
        """Salt's compiler for this minion, with its pillar gathered."""
        Node.last = self
        compiler = salt.state.HighState(copy.deepcopy(self.opts), pillar_override=self._override)
        pillar = compiler.state.opts["pillar"]
        assert not pillar.get("_errors"), f"{self.id}: the pillar does not render: {pillar['_errors']}"
        # The function reads the machine, and this is another one.
        compiler.state.functions["fanatico_keepalived.interface"] = lambda: "eth0"
        return compiler

    @property
    def pillar(self):
        return self.highstate.state.opts["pillar"]

    @property
    def functions(self):
        """The execution modules, as `salt` in Jinja."""
        return self.highstate.state.functions

    def top(self):
        """Return the names of the SLS that top.sls assigns to this minion."""
        top = self.highstate.get_top()
        errors = self.highstate.verify_tops(top)
        assert not errors, errors
        return self.highstate.top_matches(top).get("base", [])

    def compile(self, *names):
        """Compile the named SLS and return the low chunks in order.

        Raises AssertionError with all errors of Salt and of the check of the arguments.
        """
        compiler = self.highstate
        compiler.building_highstate = type(compiler.building_highstate)()  # it remembers the last compilation
        compiler.push_active()
        try:
            high, errors = compiler.render_highstate({"base": list(names)})
        finally:
            compiler.pop_active()
        assert not errors, "\n".join(map(str, errors))
        state = compiler.state
        high, extend_errors = state.reconcile_extend(high)
        errors += extend_errors + state.verify_high(high)
        high, requisite_errors = state.requisite_in(high)
        errors += requisite_errors
        high = state.apply_exclude(high)
        assert not errors, "\n".join(map(str, errors))
        chunks, errors = state.compile_high_data(high)
        for chunk in chunks:
            errors += self._check(chunk)
        assert not errors, "\n".join(map(str, errors))
        return chunks

    def _check(self, chunk):
        """Return errors of a chunk: its function must exist, have all required arguments and no unknown ones."""
        states = self.highstate.state.states
        full = f"{chunk['state']}.{chunk['fun']}"
        if full not in states and chunk["state"] in SYSTEM_STATES:
            return []
        errors = self.highstate.state.verify_data(chunk)
        if errors:
            return errors
        parameters = inspect.signature(states[full]).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if takes_all and full != "file.managed":  # none of our arguments is for its **kwargs
            return []
        known = {*parameters, *salt.state.STATE_INTERNAL_KEYWORDS}
        unknown = [key for key in chunk if key not in known and not key.startswith("__")]
        where = f"{chunk['__id__']} in {chunk['__sls__']}"
        return [f"{where}: {full} has no argument {key!r}" for key in unknown]

    def render(self, chunk):
        """Return the text that a `file.managed` chunk with a template would write."""
        source = chunk["source"] if isinstance(chunk["source"], str) else chunk["source"][0]
        context = {**chunk.get("defaults", {}), **chunk.get("context", {})}
        target = Path(self.opts["cachedir"]) / "rendered" / source.removeprefix("salt://")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.functions["cp.get_template"](
            source, str(target), template=chunk["template"], saltenv="base", makedirs=True, **context
        )
        return target.read_text()
