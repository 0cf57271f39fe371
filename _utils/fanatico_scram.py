"""
PostgreSQL's SCRAM-SHA-256 verifiers: made and compared here, so that no password is sent to be logged.
"""

import base64
import hashlib
import hmac
import secrets
import unicodedata

ITERATIONS = 4096  # PostgreSQL's own


def verifier(password, salt=None, iterations=ITERATIONS):
    """
    Return what PostgreSQL stores for a password: ``SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>``.

    salt
        Sixteen random bytes without one.
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    # What SASLprep does to passwords that people use.
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    stored = hashlib.sha256(_sign(salted, b"Client Key")).digest()
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored)}:{_text(_sign(salted, b'Server Key'))}"


def matches(password, stored):
    """Tell whether ``stored``, from ``pg_authid``, is a SCRAM verifier of ``password``; an MD5 hash never is."""
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
