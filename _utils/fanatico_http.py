"""
HTTP client: JSON in, JSON out, short timeouts, one clear sentence on failure.

It uses ``requests``, which a running minion has loaded anyway. Proxies and netrc of the environment are ignored on purpose: these
calls never leave the plan's networks.
"""

import os

import requests
from salt.exceptions import CommandExecutionError


class NoAnswer(CommandExecutionError):
    """A service accepted the connection but did not respond in time; a service that is down refuses at once."""

    code = "no-answer"


def timed_out(exc):
    """
    Tell whether an exception is a timeout of a service.

    The code decides, not the class: a minion imports this file again after a sync, and modules loaded before still raise the old
    class.
    """
    return getattr(exc, "code", "") == NoAnswer.code


def call(method, url, payload=None, auth=None, timeout=1.0, tls=None, headers=None):
    """
    Send one request.

    method, url
        For example ``"GET"`` and ``"https://10.0.2.10:8008/liveness"``.
    payload
        Sent as JSON.
    auth
        ``(user, password)`` for basic authentication.
    timeout
        Seconds to connect, and again between two pieces of the response.
    tls
        For https: ``{"ca": file, "cert": file or None, "key": file or None}``, as ``fanatico_pki.paths`` returns it.
    headers
        Additional headers.

    Returns ``(HTTP status, body)``: the body is parsed if it is JSON, else text.
    Raises ``CommandExecutionError`` with URL and reason if there was no response; ``NoAnswer`` after a timeout.
    """
    missing = [path for path in (tls or {}).values() if path and not os.path.exists(path)]
    if missing:
        raise CommandExecutionError(
            f"{url}: this node has no certificates yet, {missing[0]} is missing. Next: salt-call state.apply roles.certified"
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
    """Return ``(HTTP status, body)`` of a GET; raises ``CommandExecutionError`` if there is no response. See ``call``."""
    return call("GET", url, timeout=timeout, tls=tls)


def fetch(method, url, payload=None, auth=None, timeout=1.0, tls=None, headers=None):
    """Return the body of a response with status 200-299; raises ``CommandExecutionError`` for any other. See ``call``."""
    status, body = call(method, url, payload, auth, timeout, tls, headers)
    if not 200 <= status < 300:
        error = body.get("message") or body.get("error") or "" if isinstance(body, dict) else body
        raise CommandExecutionError(f"{url}: HTTP {status} {str(error).strip()[:300]}".rstrip())
    return body


def first(places, ask):
    """
    Return ``(name, ask(address))`` of the first endpoint that answers.

    places
        ``{name: address}``, in the order to ask.
    ask
        Called with an address; if it raises ``CommandExecutionError`` the next endpoint is asked.

    Raises ``CommandExecutionError`` with the errors of all endpoints if none answers.
    """
    failures = []
    for name, place in places.items():
        try:
            return name, ask(place)
        except CommandExecutionError as exc:
            failures.append(f"{name}: {exc}")
    raise CommandExecutionError("; ".join(failures))


def reason(exc, timeout):
    """Return a short reason for a request without a response: the messages of requests are nested three deep."""
    if isinstance(exc, requests.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(exc, requests.ConnectionError):
        text = str(exc)
        for sign, words in (
            ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
            ("CERTIFICATE_REQUIRED", "it requires a client certificate"),
            ("TLSV1_ALERT_UNKNOWN_CA", "it does not trust this node's certificate"),
            ("Connection refused", "connection refused"),
            ("No route to host", "no route to the host"),
            ("Network is unreachable", "network unreachable"),
            ("Name or service not known", "unknown host name"),
            ("RemoteDisconnected", "connection closed without a response"),
            ("Connection reset", "connection reset"),
        ):
            if sign in text:
                return words
    return f"{type(exc).__name__}: {exc}"
