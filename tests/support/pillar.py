"""Pillar trees for tests: the committed pillar with another plan, fake secrets, or site overrides."""

import copy
import functools
import secrets
from pathlib import Path

import yaml

import fanatico_pki
import fanatico_plan
from tests.support import REPO

# Settings without a default, which validation requires from the operator.
SITE = {
    "rpc": {
        "chain": {"id": 31337},
        "artifact": {
            "kind": "archive",
            "source": "https://example.org/node.tgz",
            "sha256": "0" * 64,
            "strip": 1,
            "bin": "bin/node",
        },
    }
}


@functools.cache
def fake_secret(name):
    """Return a value for the secret *name*: random, long enough, the same for each call."""
    return secrets.token_hex(16)


def fake_secrets(role):
    """Return {NAME: value} for *role*."""
    return {name: fake_secret(name) for name in fanatico_plan.SECRETS.get(role, ())}


@functools.cache
def _file(name):
    return yaml.safe_load((REPO / "pillar" / f"{name}.sls").read_text())


def shipped(name):
    """Return what the committed pillar has under the key *name*, a component's settings; the caller may change it."""
    return copy.deepcopy(_file(name)[name])


def build(directory, plan=None, site=None, with_secrets=True):
    """Build a pillar root in *directory* from the committed pillar and return its path.

    plan
        A file that replaces pillar/plan.sls, or None for the committed plan.
    site
        Content of pillar/site/init.sls, the overrides of an installation; by default the required minimum.
    with_secrets
        False leaves pillar/secrets/ empty, without certificate authorities.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    for path in (REPO / "pillar").iterdir():
        if path.name not in ("secrets", "site"):
            (root / path.name).symlink_to(path)
    if plan:
        (root / "plan.sls").unlink()
        (root / "plan.sls").symlink_to(plan)
    (root / "site").mkdir()
    content = dict(SITE if site is None else site)
    if with_secrets:
        # On a real master _pillar/fanatico_pki.py provides them.
        content["pki"] = {
            "trust": dict.fromkeys(fanatico_pki.AUTHORITIES, "made up"),
            "issuer": dict.fromkeys(fanatico_pki.AUTHORITIES, "00"),
        } | content.get("pki", {})
    (root / "site" / "init.sls").write_text(yaml.safe_dump(content))
    (root / "secrets").mkdir()
    if with_secrets:
        for role in fanatico_plan.SECRETS:
            content = yaml.safe_dump({"secrets": fake_secrets(role)})
            (root / "secrets" / f"{role}.sls").write_text(content)
    return root
