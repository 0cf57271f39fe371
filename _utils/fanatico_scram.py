"""
Create and compare PostgreSQL's SCRAM-SHA-256 verifiers, so that no password is sent to the server, which could log it.
"""

import base64
import hashlib
import hmac
import secrets
import unicodedata

ITERATIONS = 4096  # PostgreSQL's default


def verifier(password, salt=None, iterations=ITERATIONS):
    """
    Return the verifier that PostgreSQL stores, ``SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>``.

    password
        Text.
    salt
        Bytes; by default sixteen random bytes.
    iterations
        Of PBKDF2.
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    # For common passwords NFKC equals SASLprep.
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    stored = hashlib.sha256(_sign(salted, b"Client Key")).digest()
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored)}:{_text(_sign(salted, b'Server Key'))}"


def matches(password, stored):
    """Tell whether ``stored`` (from ``pg_authid``) is a SCRAM verifier of ``password``; False for an MD5 hash."""
    scheme, _, rest = (stored or "").partition("$")
    iterations, _, rest = rest.partition(":")
    salt = rest.partition("$")[0]
    if scheme != "SCRAM-SHA-256" or not iterations.isdecimal():
        return False
    return hmac.compare_digest(verifier(password, base64.b64decode(salt), int(iterations)), stored)


def _sign(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def _text(raw):
    return base64.b64encode(raw).decode()
