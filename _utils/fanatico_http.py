"""
HTTP as this tree uses it: JSON in, JSON out, short timeouts, one clear sentence when it fails.

The client is ``requests``, which a running minion has loaded anyway. Proxies and netrc of the environment
are left out on purpose: these calls never leave the plan's networks.
"""

import os

import requests
from salt.exceptions import CommandExecutionError


class NoAnswer(CommandExecutionError):
    """A service took the question and did not answer in time; one that is not there refuses at once."""

    code = "no-answer"


def timed_out(exc):
    """
    Tell whether an exception says that a service did not answer in time.

    By its code, not by its class: a minion imports this file again when it was handed out, and modules loaded before that still
    raise the class that this file had then.
    """
    return getattr(exc, "code", "") == NoAnswer.code


def call(method, url, payload=None, auth=None, timeout=1.0, tls=None, headers=None):
    """
    Send one request.

    payload
        Sent as JSON where given.
    auth
        ``(user, password)`` for basic authentication.
    timeout
        Seconds to connect and, again, between two pieces of the answer.
    tls
        For https: ``{"ca": file, "cert": file or None, "key": file or None}``, as ``fanatico_pki.paths`` returns it.
    headers
        Sent beside the usual ones.

    Returns ``(HTTP status, body)``: parsed where the body is JSON, text otherwise.
    Raises ``CommandExecutionError`` saying which URL and why, where there was no answer at all; ``NoAnswer`` after the time.
    """
    missing = [path for path in (tls or {}).values() if path and not os.path.exists(path)]
    if missing:
        raise CommandExecutionError(
            f"{url}: this node has no certificates yet: {missing[0]} is not there. Next: state.apply roles.certified"
        )
    with requests.Session() as session:
        session.trust_env = False
        if tls:
            session.verify = tls["ca"]
            session.cert = (tls["cert"], tls["key"]) if tls["cert"] else None
        try:
            answer = session.request(
                method,
                url,
                json=payload,
                auth=auth,
                timeout=timeout,
                headers=headers,
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            kind = NoAnswer if isinstance(exc, requests.Timeout) else CommandExecutionError
            raise kind(f"{url}: {reason(exc, timeout)}") from exc
    try:
        return answer.status_code, answer.json()
    except requests.JSONDecodeError:
        return answer.status_code, answer.text


def get(url, timeout=1.0, tls=None):
    """Return ``(HTTP status, body)`` of a GET; raises ``CommandExecutionError`` where nothing answers."""
    return call("GET", url, timeout=timeout, tls=tls)


def fetch(method, url, payload=None, auth=None, timeout=1.0, tls=None, headers=None):
    """Return the body of an answer with status 200-299; raises ``CommandExecutionError`` for any other."""
    status, body = call(method, url, payload, auth, timeout, tls, headers)
    if not 200 <= status < 300:
        said = body.get("message") or body.get("error") or "" if isinstance(body, dict) else body
        raise CommandExecutionError(f"{url}: HTTP {status} {str(said).strip()[:300]}".rstrip())
    return body


def first(places, ask):
    """
    Return ``(name, ask(place))`` of the first place that answers.

    places
        ``{name: place}``, in the order to ask them.
    ask
        Called with a place; what it raises as ``CommandExecutionError`` sends the question to the next.

    Raises ``CommandExecutionError`` with what each said where none answers.
    """
    failures = []
    for name, place in places.items():
        try:
            return name, ask(place)
        except CommandExecutionError as exc:
            failures.append(f"{name}: {exc}")
    raise CommandExecutionError("; ".join(failures))


def reason(exc, timeout):
    """Return in a few words why a request had no answer: requests' own messages are nested three deep."""
    if isinstance(exc, requests.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(exc, requests.ConnectionError):
        text = str(exc)
        for sign, words in (
            ("CERTIFICATE_VERIFY_FAILED", "its certificate is not to be trusted"),
            ("CERTIFICATE_REQUIRED", "it asks for a certificate"),
            ("TLSV1_ALERT_UNKNOWN_CA", "it does not trust this node's certificate"),
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
