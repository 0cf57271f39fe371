"""Certificates for tests, signed by a test authority."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import fanatico_pki

_USES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
_PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Authority:
    """A certificate authority for tests."""

    def __init__(self, name="test authority"):
        self.key, self.certificate = fanatico_pki.new_authority(name)

    def issue(
        self, name="node", addresses=(), uses=("serverAuth", "clientAuth"), days=90, key=None, unit=False
    ):
        """Return (certificate, key), both PEM: for `key` or a new one; with negative `days` one that has ended.

        unit
            The name is an organizational unit, not a common name, as etcd requires.
        """
        issuer = x509.load_pem_x509_certificate(self.certificate.encode())
        key = (
            serialization.load_pem_private_key(key.encode(), None)
            if key
            else ec.generate_private_key(ec.SECP256R1())
        )
        kind = NameOID.ORGANIZATIONAL_UNIT_NAME if unit else NameOID.COMMON_NAME
        now = datetime.datetime.now(datetime.UTC)
        alternatives = [
            x509.DNSName(name),
            *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses),
        ]
        signer = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(kind, name)]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([_USES[use] for use in uses]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
            )
            .sign(serialization.load_pem_private_key(self.key.encode(), None), hashes.SHA256())
        )
        return (
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(*_PRIVATE).decode(),
        )


def write(directory, authority, **wanted):
    """Issue a certificate and write it with its CA certificate; return {"ca", "cert", "key"}, the paths."""
    directory = Path(directory)
    certificate, key = authority.issue(**wanted)
    files = {"ca": authority.certificate, "cert": certificate, "key": key}
    for name, text in files.items():
        (directory / f"{name}.pem").write_text(text)
    return {name: str(directory / f"{name}.pem") for name in files}
