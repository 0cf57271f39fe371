"""
The certificates of each node, with their authorities and names, derived from the plan. No I/O.

Each trust boundary has its own authority: a daemon that trusts an authority accepts every certificate that it signed.
"""

import contextlib
import datetime
import hashlib
import pathlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import fanatico_plan
from fanatico_components import CLIENT, SERVER

AUTHORITIES = {
    "backup": "access to the backups, and to the database hosts for making them",
    "edge": "server certificates of HAProxy; clients of PostgreSQL do not trust them",
    "etcd": "access to etcd's client port",
    "etcd-peer": "membership in the etcd cluster",
    "monitor": "host metrics; no access to data",
    "service": "server certificates of Patroni and PostgreSQL",
}

_USES = {ExtendedKeyUsageOID.SERVER_AUTH: SERVER, ExtendedKeyUsageOID.CLIENT_AUTH: CLIENT}

_KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def authorities(roles=None):
    """Return the names of the authorities that a node with ``roles`` uses; all names if ``roles`` is None."""
    if roles is None:
        return list(AUTHORITIES)
    held = [component.pki for component in fanatico_plan.components(roles) if component.pki]
    used = {authority for pki in held for authority in (*pki.certificates, *pki.trusts)}
    return [authority for authority in AUTHORITIES if authority in used]


def certificates(plan, node, component=None):
    """
    Return the certificates that ``node`` must have, a list of dicts.

    plan
        The dict under the pillar key ``plan``.
    node
        Its id.
    component
        Only the certificates of this component.

    Each is ``{"name", "component", "authority", "policy", "uses", "subject", "names", "addresses", "owner", "daemon", "ca",
    "cert", "key"}``; the last three are paths. ``owner`` reads the key, ``daemon`` enters its folder. ``name`` is
    ``component/authority``, or ``component/`` and the name of a user certificate; ``policy`` is the name of the signing policy.
    User certificates come last.
    """
    mine = _holding(plan, node, component)
    daemons = [
        _certificate(plan, node, component, authority, uses)
        for component in mine
        for authority, uses in component.pki.certificates.items()
    ]
    users = [
        _certificate(plan, node, component, authority, (CLIENT,)) | _of_user(node, component, name, user)
        for component in mine
        for name, (authority, user) in component.pki.users.items()
    ]
    return daemons + users


def trusts(plan, node, component=None):
    """
    Return the authorities that ``node`` trusts without having a certificate of them, a list of dicts.

    Each is ``{"name", "component", "authority", "daemon", "ca"}``. Arguments and keys: see ``certificates``.
    """
    return [
        {
            "name": f"{record.name}/{authority}",
            "component": record.name,
            "authority": authority,
            "daemon": record.pki.owner,
            "ca": f"{record.pki.folder}/{authority}-ca.crt",
        }
        for record in _holding(plan, node, component)
        for authority in record.pki.trusts
    ]


def _holding(plan, node, component):
    """Return the records of the components of ``node`` with certificates, or only that of ``component``."""
    if node not in plan["nodes"]:
        return []
    mine = fanatico_plan.components(plan["nodes"][node].get("roles", []))
    return [record for record in mine if record.pki and component in (None, record.name)]


def _of_user(node, component, name, user):
    stem = f"{component.pki.folder}/{name}"
    return {
        "name": f"{component.name}/{name}",
        "policy": f"{node}.{component.name}.{name}",
        "subject": f"CN={user}",
        "owner": "root",
        "cert": f"{stem}.crt",
        "key": f"{stem}.key",
    }


def _certificate(plan, node, component, authority, uses):
    stem = f"{component.pki.folder}/{authority}"
    return {
        "name": f"{component.name}/{authority}",
        "component": component.name,
        "authority": authority,
        "policy": f"{node}.{component.name}.{authority}",
        "uses": list(uses),
        # etcd treats a common name as a user name, and then refuses every call of its JSON gateway.
        "subject": f"{'OU' if authority == 'etcd' else 'CN'}={node}",
        "names": [node],
        "addresses": _addresses(plan, node, authority) if SERVER in uses else [],
        "owner": component.pki.owner,
        "daemon": component.pki.owner,
        "ca": f"{stem}-ca.crt",
        "cert": f"{stem}.crt",
        "key": f"{stem}.key",
    }


def _addresses(plan, node, authority):
    """Return the addresses at which clients reach the server: its own and, through the balancers, the virtual IP."""
    own = [plan["nodes"][node]["address"]]
    return [*own, plan["virtual_ip"]["address"]] if authority in ("service", "edge") else own


def paths(plan, node, authority):
    """
    Return the files with which ``node`` connects to servers of ``authority``, ``{"ca", "cert", "key"}``; None if it has none.

    ``cert`` and ``key`` are None without a client certificate.
    """
    held = [entry for entry in certificates(plan, node) if entry["authority"] == authority]
    # A server-only certificate is no client certificate: a server would refuse it, even where none is required.
    best = next((entry for entry in held if CLIENT in entry["uses"]), None)
    if best:
        return {key: best[key] for key in ("ca", "cert", "key")}
    known = [*held, *(entry for entry in trusts(plan, node) if entry["authority"] == authority)]
    return {"ca": known[0]["ca"], "cert": None, "key": None} if known else None


# A certificate is valid from a day before its creation, for hosts whose clock is behind.
EARLIER = datetime.timedelta(days=1)


# Values that a node could otherwise choose: lifetime, a copy on the master's disk, a weak digest, serial number, a key path
# (which reveals whether a file exists on the master), unexpected extensions.
_FIXED = {
    "digest": "sha256",
    "prepend_cn": False,
    **dict.fromkeys(
        ("not_after", "copypath", "serial_number", "csr", "private_key", "private_key_passphrase")
    ),
    **dict.fromkeys(("issuerAltName", "authorityInfoAccess", "crlDistributionPoints")),
    **dict.fromkeys(("certificatePolicies", "policyConstraints", "inhibitAnyPolicy", "nameConstraints")),
    **dict.fromkeys(("noCheck", "tlsfeature", "nsComment", "nsCertType")),
}


def policies(plan, directory, days, now):
    """
    Return Salt's ``x509_signing_policies``: one for each certificate of the plan, usable only by its node.

    plan
        The dict under the pillar key ``plan``.
    directory
        The folder of the authorities on the master.
    days
        Lifetime of a certificate.
    now
        The time, a ``datetime`` with time zone.

    A policy overrides the request of the node, names and addresses included.
    """
    return {
        certificate["policy"]: {
            "minions": node,
            "signing_private_key": f"{directory}/{certificate['authority']}.key",
            "signing_cert": f"{directory}/{certificate['authority']}.crt",
            # As text it replaces the subject in the request.
            "subject": certificate["subject"],
            "subjectAltName": [
                *(f"DNS:{name}" for name in certificate["names"]),
                *(f"IP:{ip}" for ip in certificate["addresses"]),
            ],
            "basicConstraints": "critical, CA:FALSE",
            "keyUsage": "critical, digitalSignature",
            "extendedKeyUsage": ", ".join(certificate["uses"]),
            "subjectKeyIdentifier": "hash",
            "authorityKeyIdentifier": "keyid:always",
            "days_valid": days,
            "not_before": (now - EARLIER).astimezone(datetime.UTC).strftime("%Y-%m-%d 00:00:00"),
            **_FIXED,
        }
        for node in plan["nodes"]
        for certificate in certificates(plan, node)
    }


def new_authority(name):
    """
    Return (key, certificate), both PEM, of a new authority. It signs end entities only and is valid for ten years.

    name
        Its common name.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signs = {use: use in ("key_cert_sign", "crl_sign") for use in _KEY_USES}
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 2 * EARLIER)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**signs), critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(pem, *private).decode(), certificate.public_bytes(pem).decode()


def facts(pem):
    """
    Return the content of a certificate as plain data.

    ``{"subject", "names", "addresses", "uses", "not_after" (seconds since 1970), "key" (a hash), "authority" (key id of the
    signer), "id" (its own key id), "is_ca"}``. Raises ``ValueError`` if ``pem`` is not a certificate.
    """
    return _facts(x509.load_pem_x509_certificate(pem.encode()))


def bundle_facts(pem):
    """Return the facts of each certificate in a PEM bundle."""
    if not pem.strip():
        return []
    return [_facts(certificate) for certificate in x509.load_pem_x509_certificates(pem.encode())]


def _facts(certificate):
    alternatives = _extension(certificate, x509.SubjectAlternativeName)
    uses = _extension(certificate, x509.ExtendedKeyUsage) or ()
    signer = _extension(certificate, x509.AuthorityKeyIdentifier)
    own = _extension(certificate, x509.SubjectKeyIdentifier)
    constraints = _extension(certificate, x509.BasicConstraints)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "names": sorted(alternatives.get_values_for_type(x509.DNSName)) if alternatives else [],
        "addresses": sorted(map(str, alternatives.get_values_for_type(x509.IPAddress)))
        if alternatives
        else [],
        "uses": sorted(_USES.get(use, use.dotted_string) for use in uses),
        "not_after": int(certificate.not_valid_after_utc.timestamp()),
        "key": _hash(certificate.public_key()),
        "authority": signer.key_identifier.hex() if signer and signer.key_identifier else "",
        "id": own.digest.hex() if own else "",
        "is_ca": bool(constraints and constraints.ca),
    }


def _extension(certificate, kind):
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _hash(public_key):
    digest = hashes.Hash(hashes.SHA256())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    digest.update(public_key.public_bytes(serialization.Encoding.DER, form))
    return digest.finalize().hex()


def key_hash(pem):
    """Return the hash of a private key's public half, to compare with a certificate's; raises ``ValueError``."""
    return _hash(serialization.load_pem_private_key(pem.encode(), None).public_key())


def authority_fault(key, certificate):
    """Return why a key and a certificate (PEM) cannot be an authority, a sentence; None if they can."""
    try:
        found, expected = facts(certificate), key_hash(key)
    except (ValueError, TypeError):
        return "the key or the certificate cannot be read as PEM without a passphrase"
    if not found["is_ca"]:
        return "the certificate is not that of an authority (basicConstraints CA:TRUE is missing)"
    if not found["id"]:
        return "the certificate has no subjectKeyIdentifier, which the nodes need to identify it"
    if found["key"] != expected:
        return "the key does not match the certificate"
    return None


def pin(path, content):
    """Return a path beside ``path`` whose name contains a hash of ``content``."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.{hashlib.sha256(content.encode()).hexdigest()[:8]}{path.suffix}")


def signed(pem, trust):
    """
    Tell whether one of the trusted authorities signed a certificate; the signature is verified.

    pem
        The certificate. Its key id of the signer is no proof: its creator chose it.
    trust
        The authorities' certificates, a PEM bundle.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    for authority in x509.load_pem_x509_certificates(trust.encode()):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def reasons(wanted, found, key, issuer, now, renew_days, proven=True):
    """
    Return why a certificate must be replaced, a list of short texts; empty if it is valid.

    wanted
        An entry of ``certificates``.
    found
        Its ``facts``; None if there is no readable certificate.
    key
        The hash of the private key beside it, or None.
    issuer
        The key id of the authority that signs now; "" if unknown.
    now
        Seconds since 1970.
    renew_days
        A certificate that expires within so many days is replaced.
    proven
        The result of ``signed``.
    """
    if found is None or key is None:
        return ["missing"]
    why = []
    for kind in ("names", "addresses", "uses"):
        if sorted(wanted[kind]) != found[kind]:
            why.append(
                f"{kind} {', '.join(found[kind]) or 'none'} instead of {', '.join(sorted(wanted[kind]))}"
            )
    if found["subject"] != wanted["subject"]:
        why.append(f"subject {found['subject']} instead of {wanted['subject']}")
    if found["key"] != key:
        why.append("the private key does not match")
    if issuer and found["authority"] != issuer:
        why.append("signed by a former authority")
    elif not proven:
        why.append("invalid signature")
    left = days_left(found, now)
    if left < renew_days:
        why.append("expired" if left < 0 else f"expires in {left} days")
    return why


def days_left(found, now):
    """Return the whole days until a certificate expires, negative if it has expired; ``now`` in seconds since 1970."""
    return (found["not_after"] - int(now)) // 86400


def day(seconds):
    """Return the UTC date of a time in seconds since 1970, for example ``2026-11-23``."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")
