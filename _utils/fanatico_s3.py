"""
Requests to an S3 server, signed (AWS Signature Version 4). Pure.
"""

import hashlib
import hmac

_SERVICE, _ALGORITHM = "s3", "AWS4-HMAC-SHA256"


def signed(method, s3, keys, name, digest, now):
    """
    Return ``(url, headers)`` of a request for one object.

    method
        ``GET``, ``PUT``, ``HEAD`` or ``DELETE``.
    s3
        The pillar's ``backup:s3``.
    keys
        ``(key, secret)``.
    name
        The object's name in the bucket, without a leading slash: letters, digits and ``._/-``, which need no quoting in a URL.
    digest
        The SHA-256 of the body in hexadecimal.
    now
        The time, a ``datetime`` in UTC. The server refuses one that is minutes wrong.
    """
    host, path = _place(s3, name)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(headers)
    canonical = "\n".join(
        [method, path, "", *(f"{key}:{value}" for key, value in headers.items()), "", names, digest]
    )
    scope = f"{day}/{s3['region']}/{_SERVICE}/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys[1]}".encode()
    for part in (day, s3["region"], _SERVICE, "aws4_request"):
        key = _hmac(key, part)
    signature = _hmac(key, text).hex()
    credential = f"{_ALGORITHM} Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}"
    return f"https://{host}{path}", {**headers, "authorization": credential}


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _place(s3, name):
    """Return the host with its port, and the path of an object."""
    host, path = s3["endpoint"], f"/{name}"
    if s3["uri_style"] == "path":
        path = f"/{s3['bucket']}{path}"
    else:
        host = f"{s3['bucket']}.{host}"
    return (host if s3["port"] == 443 else f"{host}:{s3['port']}"), path
