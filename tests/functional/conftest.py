"""Our modules through Salt's own loader, without daemons: what a minion and a master would find."""

import copy

import pytest
import salt.config
import salt.loader
import salt.runner

from tests.support import MODULES, REPO, pillar
from tests.support.tree import Node


@pytest.fixture(scope="session")
def pillar_root(tmp_path_factory):
    return pillar.build(tmp_path_factory.mktemp("pillar") / "root")


@pytest.fixture(scope="session")
def node(pillar_root, tmp_path_factory):
    """Return a minion by its id, with every loader of ours at hand."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = Node(name, pillar_root, tmp_path_factory.mktemp(name))
        return made[name]

    return make


@pytest.fixture(scope="session")
def master_opts(pillar_root, tmp_path_factory):
    """A master's configuration over our tree; copy it before changing it."""
    opts = salt.config.master_config(None)
    scratch = tmp_path_factory.mktemp("master")
    opts.update(
        id="salt_master",
        root_dir=str(scratch),
        cachedir=str(scratch / "cache"),
        extension_modules=str(scratch / "extmods"),
        pki_dir=str(scratch / "pki"),
        sock_dir=str(scratch / "sock"),
        file_roots={"base": [str(REPO / "salt")]},
        pillar_roots={"base": [str(pillar_root)]},
        module_dirs=MODULES,
        fileserver_backend=["roots"],
    )
    return opts


@pytest.fixture
def runners(master_opts):
    """The runners as `salt-run` would call them, by name."""
    opts = copy.deepcopy(master_opts)
    return salt.loader.runner(opts, utils=salt.loader.utils(opts))
