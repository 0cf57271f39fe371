"""
Who holds which certificate, signed by which authority, for which names: out of the plan. No I/O.

There is an authority for each boundary of trust. A daemon that trusts an authority lets in whoever shows a certificate
of it, so what opens one door must not come from the authority of another.
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
    "edge": "what HAProxy is known by: a balancer holds nothing that clients of PostgreSQL would believe",
    "etcd": "who may speak to etcd's client port",
    "etcd-peer": "who may be a member of etcd",
    "monitor": "what speaks of hosts' metrics: it opens no door to data",
    "service": "what Patroni and PostgreSQL are known by",
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
    """Return the names of the authorities that a node with ``roles`` has to do with; of all without roles."""
    if roles is None:
        return list(AUTHORITIES)
    held = [one.pki for one in fanatico_plan.components(roles) if one.pki]
    used = {authority for pki in held for authority in (*pki.certificates, *pki.trusts)}
    return [authority for authority in AUTHORITIES if authority in used]


def certificates(plan, node, component=None):
    """
    Return the certificates of ``node``, a list of dicts with what each has to be and where it lies.

    plan
        The dict under the pillar key ``plan``.
    component
        Only those of this component.

    Each is ``{"name", "component", "authority", "policy", "uses", "subject", "names", "addresses", "owner", "daemon", "ca",
    "cert", "key"}``; the last three are paths. ``owner`` reads the key, ``daemon`` enters its folder. ``name`` is
    ``component/authority``, or ``component/`` and the name of a user's certificate; ``policy`` is that of the signing policy.
    Those of users come last.
    """
    mine = _holding(plan, node, component)
    daemons = [
        _certificate(plan, node, one, authority, uses)
        for one in mine
        for authority, uses in one.pki.certificates.items()
    ]
    users = [
        _certificate(plan, node, one, authority, (CLIENT,)) | _of_user(node, one, name, user)
        for one in mine
        for name, (authority, user) in one.pki.users.items()
    ]
    return daemons + users


def trusts(plan, node, component=None):
    """
    Return the authorities that ``node`` has to know without a certificate of theirs, a list of dicts.

    Each is ``{"name", "component", "authority", "daemon", "ca"}``, as in ``certificates``, which has the arguments too.
    """
    return [
        {
            "name": f"{one.name}/{authority}",
            "component": one.name,
            "authority": authority,
            "daemon": one.pki.owner,
            "ca": f"{one.pki.folder}/{authority}-ca.crt",
        }
        for one in _holding(plan, node, component)
        for authority in one.pki.trusts
    ]


def _holding(plan, node, component):
    """Return the records of the components of ``node`` that have certificates, or of one of them."""
    if node not in plan["nodes"]:
        return []
    mine = fanatico_plan.components(plan["nodes"][node].get("roles", []))
    return [one for one in mine if one.pki and component in (None, one.name)]


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
        # etcd would take a common name for a user's, and refuse every call of its JSON gateway with one.
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
    """Return where clients look for the server: its own address and, through the balancers, the virtual one."""
    own = [plan["nodes"][node]["address"]]
    return [*own, plan["virtual_ip"]["address"]] if authority in ("service", "edge") else own


def paths(plan, node, authority):
    """Return ``{"ca", "cert", "key"}``, what ``node`` speaks with to servers of ``authority``; None where it may not."""
    held = [one for one in certificates(plan, node) if one["authority"] == authority]
    # A certificate for servers alone opens nothing: it would be refused where one is optional.
    best = next((one for one in held if CLIENT in one["uses"]), None)
    if best:
        return {key: best[key] for key in ("ca", "cert", "key")}
    known = [*held, *(one for one in trusts(plan, node) if one["authority"] == authority)]
    return {"ca": known[0]["ca"], "cert": None, "key": None} if known else None


# A certificate that begins a day before it was made is good on a host whose clock is behind, or is set back.
EARLIER = datetime.timedelta(days=1)


# What a node could otherwise ask for: another span of time, a copy somewhere on the master's disk, a weak digest, a serial number
# of its choice, the answer whether a file exists on the master (a path for a key), extensions that nobody has thought about.
_NOT_ITS_OWN = {
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
    Return Salt's ``x509_signing_policies``: one for each certificate of the plan, for its node alone.

    plan
        The dict under the pillar key ``plan``.
    directory
        Where the master keeps its authorities.
    days
        How long a certificate is good.
    now
        The time, with its zone.

    What a policy says wins over what the node asks for, names and addresses first of all.
    """
    return {
        one["policy"]: {
            "minions": node,
            "signing_private_key": f"{directory}/{one['authority']}.key",
            "signing_cert": f"{directory}/{one['authority']}.crt",
            # As text it takes the place of whatever subject a node asks for.
            "subject": one["subject"],
            "subjectAltName": [
                *(f"DNS:{name}" for name in one["names"]),
                *(f"IP:{ip}" for ip in one["addresses"]),
            ],
            "basicConstraints": "critical, CA:FALSE",
            "keyUsage": "critical, digitalSignature",
            "extendedKeyUsage": ", ".join(one["uses"]),
            "subjectKeyIdentifier": "hash",
            "authorityKeyIdentifier": "keyid:always",
            "days_valid": days,
            "not_before": (now - EARLIER).astimezone(datetime.UTC).strftime("%Y-%m-%d 00:00:00"),
            **_NOT_ITS_OWN,
        }
        for node in plan["nodes"]
        for one in certificates(plan, node)
    }


def new_authority(name):
    """
    Return (key, certificate), both PEM, of a new authority that signs end entities only, for ten years.

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
    Return what a certificate says, as plain data; raises ``ValueError`` where ``pem`` is none.

    ``{"subject", "names", "addresses", "uses", "not_after" (seconds since 1970), "key" (a hash), "authority" (the key id of who
    signed it), "id" (its own), "is_ca"}``.
    """
    return _facts(x509.load_pem_x509_certificate(pem.encode()))


def bundle_facts(pem):
    """Return the facts of each certificate of a bundle."""
    return [_facts(one) for one in x509.load_pem_x509_certificates(pem.encode())] if pem.strip() else []


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
    """Return the hash of the public half of a private key, to be held against a certificate's; raises ``ValueError``."""
    return _hash(serialization.load_pem_private_key(pem.encode(), None).public_key())


def authority_fault(key, certificate):
    """Return why a key and a certificate (PEM) cannot be an authority here, as a sentence; None where they can."""
    try:
        told, held = facts(certificate), key_hash(key)
    except (ValueError, TypeError):
        return "the key or the certificate cannot be read as PEM without a passphrase"
    if not told["is_ca"]:
        return "the certificate is not one of an authority (basicConstraints CA:TRUE)"
    if not told["id"]:
        return "the certificate has no subjectKeyIdentifier, by which the nodes would know it"
    if told["key"] != held:
        return "the key is not that of the certificate"
    return None


def pin(path, content):
    """Return the name that tells the ``content`` of the file ``path``, beside it."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.{hashlib.sha256(content.encode()).hexdigest()[:8]}{path.suffix}")


def signed(pem, trust):
    """
    Tell whether a certificate was really signed by one of the authorities that are trusted.

    pem
        The certificate. Whose key id it names is what its maker wrote there; only the signature proves it.
    trust
        The authorities' certificates, a bundle of PEM.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    for authority in x509.load_pem_x509_certificates(trust.encode()):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def reasons(wanted, found, key, issuer, now, renew_days, proven=True):
    """
    Return why a certificate has to be replaced, as short texts; empty while it is right.

    wanted
        One of ``certificates``.
    found
        Its ``facts``, or None where there is none that can be read.
    key
        The hash of the private key beside it, or None.
    issuer
        The key id of the authority that signs now; "" where that is not known.
    now
        Seconds since 1970.
    renew_days
        A certificate that ends within so many days is replaced.
    proven
        What ``signed`` said of it.
    """
    if found is None or key is None:
        return ["there is none"]
    said = []
    for kind in ("names", "addresses", "uses"):
        if sorted(wanted[kind]) != found[kind]:
            said.append(
                f"{kind} {', '.join(found[kind]) or 'none'} instead of {', '.join(sorted(wanted[kind]))}"
            )
    if found["subject"] != wanted["subject"]:
        said.append(f"subject {found['subject']} instead of {wanted['subject']}")
    if found["key"] != key:
        said.append("the key beside it is another's")
    if issuer and found["authority"] != issuer:
        said.append("signed by an authority that signs no more")
    elif not proven:
        said.append("the signature is not that of its authority")
    left = days_left(found, now)
    if left < renew_days:
        said.append("has ended" if left < 0 else f"ends in {left} days")
    return said


def days_left(found, now):
    """Return the whole days until a certificate ends, negative once it has; ``now`` in seconds since 1970."""
    return (found["not_after"] - int(now)) // 86400


def day(seconds):
    """Return the date of a moment (seconds since 1970) as ``2026-11-23``, UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")
