"""
HTTP as this tree uses it: JSON in, JSON out, short timeouts, one clear sentence when it fails.

The client is ``requests``, which a running minion has loaded anyway. Proxies and netrc of the environment
are left out on purpose: these calls never leave the plan's networks.
"""

import requests
from salt.exceptions import CommandExecutionError


def call(method, url, payload=None, auth=None, timeout=1.0):
    """
    Send one request.

    payload
        Sent as JSON where given.
    auth
        ``(user, password)`` for basic authentication.
    timeout
        Seconds to connect and, again, between two pieces of the answer.

    Returns ``(HTTP status, body)``: parsed where the body is JSON, text otherwise.
    Raises ``CommandExecutionError`` saying which URL and why, where there was no answer at all.
    """
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.request(
                method, url, json=payload, auth=auth, timeout=timeout, allow_redirects=False
            )
        except requests.RequestException as exc:
            raise CommandExecutionError(f"{url}: {reason(exc, timeout)}") from exc
    try:
        return answer.status_code, answer.json()
    except requests.JSONDecodeError:
        return answer.status_code, answer.text


def get(url, timeout=1.0):
    """Return ``(HTTP status, body)`` of a GET; raises ``CommandExecutionError`` where nothing answers."""
    return call("GET", url, timeout=timeout)


def fetch(method, url, payload=None, auth=None, timeout=1.0):
    """Return the body of an answer with status 200-299; raises ``CommandExecutionError`` for any other."""
    status, body = call(method, url, payload, auth, timeout)
    if not 200 <= status < 300:
        said = body.get("message") or body.get("error") or "" if isinstance(body, dict) else body
        raise CommandExecutionError(f"{url}: HTTP {status} {str(said).strip()[:300]}".rstrip())
    return body


def reason(exc, timeout):
    """Return in a few words why a request had no answer: requests' own messages are nested three deep."""
    if isinstance(exc, requests.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(exc, requests.ConnectionError):
        text = str(exc)
        for sign, words in (
            ("Connection refused", "connection refused"),
            ("No route to host", "no route to the host"),
            ("Network is unreachable", "network unreachable"),
            ("Name or service not known", "unknown host name"),
            ("RemoteDisconnected", "connection closed without an answer"),
            ("Connection reset", "connection reset"),
        ):
            if sign in text:
                return words
    return f"{type(exc).__name__}: {exc}"
