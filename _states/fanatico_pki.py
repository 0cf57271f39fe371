"""
The certificates of a component. A certificate that is missing, wrong or about to expire is replaced. The master signs; its key
never leaves the master.
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

# The authorities of a node without a master (`salt-call --local`), which signs for itself.
OWN_AUTHORITIES = "/etc/fanatico/ca"


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def issued(name, timeout=90):
    """
    Ensure that a component has its certificates, their keys and the trusted authorities where its daemons read them.

    The key is generated on this node and stays here. The master's minion signs (``x509.sign_remote_certificate``) with a policy
    that decides the content of the certificate. No request goes to the master while all certificates are valid.

    name
        The component.
    timeout
        Seconds to wait for the master to sign.
    """
    seen = __salt__["fanatico_pki.probe"](name)
    changes = {path: found for path, certificate in seen.items() if (found := _pending(certificate))}
    if __opts__["test"] or not changes:
        return _answer(
            name,
            None if changes else True,
            f"{len(seen) - len(changes)} of {len(seen)} certificates are valid",
            changes,
        )
    known = fanatico_pki.trusts(__pillar__["plan"], __opts__["id"], name)
    wanted = {spec["name"]: spec for spec in [*__salt__["fanatico_pki.wanted"](name), *known]}
    done = {}
    for path in changes:
        spec = wanted[path]
        try:
            trust, sign = _authority(spec["authority"])
            if seen[path]["reasons"]:
                key = __salt__["x509.create_private_key"](algo="ec", keysize=256)
                certificate = sign(spec, __salt__["x509.get_public_key"](key), timeout)
                _write(spec["key"], key, spec["owner"], spec["daemon"], 0o600)
                _write(spec["cert"], certificate, spec["owner"], spec["daemon"], 0o644)
            _write(spec["ca"], trust, spec["daemon"], spec["daemon"], 0o644)
            _pin(spec["ca"])
        except CommandExecutionError as exc:
            return _answer(name, False, str(exc), done)
        except OSError as exc:
            why = exc.strerror or str(exc)
            comment = f"{__opts__['id']}: cannot write the certificate {path} to {spec['cert']}: {why}."
            return _answer(
                name, False, f"{comment} Next: free disk space there, then run a highstate of this node", done
            )
        done[path] = changes[path]
    left = [
        path for path, certificate in __salt__["fanatico_pki.probe"](name).items() if _pending(certificate)
    ]
    if left:
        comment = (
            f"{__opts__['id']}: signed, but the certificate does not match the plan: {', '.join(left)}. "
            f"Next: salt {__opts__['id']} fanatico_pki.probe {name}"
        )
        return _answer(name, False, comment, done)
    return _answer(name, True, f"{len(done)} of {len(seen)} certificates were replaced", done)


def _pending(certificate):
    """Return what has to change for a certificate as ``changes``, empty if nothing."""
    found = {}
    if certificate["reasons"]:
        found["certificate"] = {
            "old": certificate["ends"],
            "new": f"signed again: {'; '.join(certificate['reasons'])}",
        }
    if not certificate["trust"]:
        found["authorities"] = {"old": "", "new": "the master's"}
    return found


def _authority(authority):
    """Return ``(trusted certificates, function that obtains a signature)``."""
    if __opts__.get("file_client") == "local":
        return _own(authority), _sign_here
    trust = _get(f"pki:trust:{authority}")
    if not trust:
        raise CommandExecutionError(
            f"{__opts__['id']}: the master has no certificate authority '{authority}'. "
            "Next, on the master: salt-run fanatico.secrets_init"
        )
    return trust, _sign_by_master


def _sign_by_master(spec, public_key, timeout):
    signer = fanatico_plan.nodes(__pillar__["plan"], "master")[0]
    create = __salt__["x509.create_certificate"]

    def request():
        try:
            return True, create(
                ca_server=signer, signing_policy=spec["policy"], public_key=public_key, days_valid=1
            )
        except (CommandExecutionError, SaltInvocationError) as exc:
            return False, " ".join(str(exc).split())

    done, seen = fanatico_wait.until(request, timeout, interval=1)
    if done:
        return seen
    raise CommandExecutionError(
        f"{__opts__['id']}: {signer} did not sign {spec['policy']} within {timeout} s: {seen} "
        f"Next, on the master: salt {signer} test.ping"
    )


# --- without a master: to try a role with `salt-call --local`


def _own(authority):
    fanatico_authority.ensure(OWN_AUTHORITIES, [authority], __opts__["id"])
    return fanatico_authority.read(OWN_AUTHORITIES, [authority])["trust"][authority]


def _sign_here(spec, public_key, timeout):
    now = datetime.datetime.now(datetime.UTC)
    days = fanatico_plan.setting(__pillar__, "pki:days")
    policy = fanatico_pki.policies(__pillar__["plan"], OWN_AUTHORITIES, days, now)[spec["policy"]]
    policy.pop("minions")
    return __salt__["x509.create_certificate"](public_key=public_key, **policy)


# --- files


def _pin(path):
    """Create the link to ``path`` whose name contains the hash of its content, see ``fanatico_pki.pinned``."""
    pin = pathlib.Path(__salt__["fanatico_pki.pinned"](path))
    if not pin.exists():
        pin.symlink_to(pathlib.Path(path).name)
    # A daemon uses an earlier name until its configuration has the new name, so the last four links stay.
    links = pin.parent.glob(f"{pathlib.Path(path).stem}.*.crt")
    for link in sorted(links, key=lambda link: link.lstat().st_mtime)[:-4]:
        link.unlink()


def _write(path, text, owner, daemon, mode):
    """Replace ``path``, owned by ``owner``, in a directory that the group of ``daemon`` may enter."""
    folder = pathlib.Path(path).parent
    user = pwd.getpwnam(owner)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(folder, 0, pwd.getpwnam(daemon).pw_gid)
    fanatico_file.replace(path, text, mode, user.pw_uid, user.pw_gid)
