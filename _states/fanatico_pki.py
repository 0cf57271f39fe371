"""
A component's certificates: made where they are missing, wrong or about to end; signed by the master, whose key never leaves it.
"""

import datetime
import os
import pathlib
import pwd

from salt.exceptions import CommandExecutionError, SaltInvocationError

import fanatico_authority
import fanatico_file
import fanatico_pki
import fanatico_plan
import fanatico_wait

# Where a node without a master (`salt-call --local`) signs for itself.
OWN_AUTHORITIES = "/etc/fanatico/ca"


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def issued(name, timeout=90):
    """
    Have the certificates of a component, with their keys and the authorities to trust, where its daemons read them.

    A key is made on this node and stays here; the master's minion signs (``x509.sign_remote_certificate``), by a policy
    that decides what the certificate says. Nothing is asked of the master while everything is right.

    name
        The component.
    timeout
        Seconds to wait for the master to sign.
    """
    seen = __salt__["fanatico_pki.probe"](name)
    changes = {path: found for path, one in seen.items() if (found := _due(one))}
    if __opts__["test"] or not changes:
        return _answer(
            name, None if changes else True, f"{len(seen) - len(changes)} of {len(seen)} are right", changes
        )
    known = fanatico_pki.trusts(__pillar__["plan"], __opts__["id"], name)
    wanted = {one["name"]: one for one in [*__salt__["fanatico_pki.wanted"](name), *known]}
    done = {}
    for path in changes:
        one = wanted[path]
        try:
            trust, sign = _authority(one["authority"])
            if seen[path]["reasons"]:
                key = __salt__["x509.create_private_key"](algo="ec", keysize=256)
                certificate = sign(one, __salt__["x509.get_public_key"](key), timeout)
                _write(one["key"], key, one["owner"], one["daemon"], 0o600)
                _write(one["cert"], certificate, one["owner"], one["daemon"], 0o644)
            _write(one["ca"], trust, one["daemon"], one["daemon"], 0o644)
            _pin(one["ca"])
        except CommandExecutionError as exc:
            return _answer(name, False, str(exc), done)
        except OSError as exc:
            why = exc.strerror or str(exc)
            comment = (
                f"{__opts__['id']}: the certificate {path} could not be stored under {one['cert']}: {why}."
            )
            return _answer(
                name, False, f"{comment} Next: make room there, then a highstate of this node", done
            )
        done[path] = changes[path]
    left = [path for path, one in __salt__["fanatico_pki.probe"](name).items() if _due(one)]
    if left:
        comment = f"{__opts__['id']}: signed, and not as the plan asks: {', '.join(left)}. Next: salt-call fanatico_pki.probe"
        return _answer(name, False, comment, done)
    return _answer(name, True, f"{len(done)} of {len(seen)} were replaced", done)


def _due(one):
    """Return what there is to do about a certificate as changes; empty where nothing is."""
    found = {}
    if one["reasons"]:
        found["certificate"] = {"old": one["ends"], "new": f"signed again: {'; '.join(one['reasons'])}"}
    if not one["trust"]:
        found["authorities"] = {"old": "", "new": "the master's"}
    return found


def _authority(authority):
    """Return (what is to be trusted, the function that has a certificate signed)."""
    if __opts__.get("file_client") == "local":
        return _own(authority), _sign_here
    trust = _get(f"pki:trust:{authority}")
    if not trust:
        raise CommandExecutionError(
            f"{__opts__['id']}: the master has no certificate authority '{authority}'. "
            "Next, on the master: salt-run fanatico.secrets_init"
        )
    return trust, _sign_by_master


def _sign_by_master(one, public_key, timeout):
    signer = fanatico_plan.nodes(__pillar__["plan"], "master")[0]
    create = __salt__["x509.create_certificate"]

    def ask():
        try:
            return True, create(
                ca_server=signer, signing_policy=one["policy"], public_key=public_key, days_valid=1
            )
        except (CommandExecutionError, SaltInvocationError) as exc:
            return False, " ".join(str(exc).split())

    done, seen = fanatico_wait.until(ask, timeout, interval=1)
    if done:
        return seen
    raise CommandExecutionError(
        f"{__opts__['id']}: {signer} has not signed {one['policy']} within {timeout} s: {seen} "
        f"Next, on the master: salt {signer} test.ping"
    )


# --- without a master: for trying out a role by `salt-call --local`


def _own(authority):
    fanatico_authority.ensure(OWN_AUTHORITIES, [authority], __opts__["id"])
    return fanatico_authority.read(OWN_AUTHORITIES, [authority])["trust"][authority]


def _sign_here(one, public_key, timeout):
    now = datetime.datetime.now(datetime.UTC)
    days = fanatico_plan.setting(__pillar__, "pki:days")
    policy = fanatico_pki.policies(__pillar__["plan"], OWN_AUTHORITIES, days, now)[one["policy"]]
    policy.pop("minions")
    return __salt__["x509.create_certificate"](public_key=public_key, **policy)


# --- files


def _pin(path):
    """Make the link that tells the content of ``path`` by its name, see ``fanatico_pki.pinned``."""
    pin = pathlib.Path(__salt__["fanatico_pki.pinned"](path))
    if not pin.exists():
        pin.symlink_to(pathlib.Path(path).name)
    # A daemon may go by an earlier name until its configuration has the new one; by then it is long gone from here.
    links = pin.parent.glob(f"{pathlib.Path(path).stem}.*.crt")
    for link in sorted(links, key=lambda link: link.lstat().st_mtime)[:-4]:
        link.unlink()


def _write(path, text, owner, daemon, mode):
    """Replace ``path``, which belongs to ``owner``, in a directory that ``daemon`` may enter."""
    folder = pathlib.Path(path).parent
    user = pwd.getpwnam(owner)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(folder, 0, pwd.getpwnam(daemon).pw_gid)
    fanatico_file.replace(path, text, mode, user.pw_uid, user.pw_gid)
