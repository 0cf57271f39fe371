"""
Rules for secrets: which values are strong enough, and how one is generated. No message contains a value.
"""

import difflib
import json
import re
import secrets
import string

MIN_LENGTH = 16
GENERATED_LENGTH = 32
_ALPHABET = (
    string.ascii_letters + string.digits
)  # about 190 bits in 32 characters, and nothing to quote anywhere

# Signs of a placeholder. The words are so long that they practically never occur in a random value.
_PLACEHOLDER = re.compile(
    r"pass[-_]?wor[dt]|change[-_]?(me|it|this)|replace|placeholder|example|default|insert|secret|fanatico|dummy"
    r"|qwerty|letmein|abcdef|012345|123456|xxxx|\*\*\*\*|^test|^todo|^your|^<.*>$|^\{\{",
    re.IGNORECASE,
)

# These are written into files in which quotes, # and $ have a meaning (haproxy.cfg, keepalived.conf); etcd's token is also part
# of log lines.
_PLAIN_ONLY = ("HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS", "ETCD_CLUSTER_TOKEN", "ETCD_TOKEN_KEY")
_PLAIN = re.compile(r"[A-Za-z0-9._~+=@:/-]*")
_PRINTABLE = re.compile(r"[!-~]*")

_HEADER = """\
#!gpg|yaml
# Written by `salt-run fanatico.secrets_init` and `salt-run fanatico.secrets_import`. Secrets:
"""


def generate():
    """Return a new strong value. One random value in thirty thousand looks like a placeholder (xxxX) and is discarded."""
    while True:
        value = "".join(secrets.choice(_ALPHABET) for _ in range(GENERATED_LENGTH))
        if not weakness("", value):
            return value


def weakness(name, value):
    """
    Return what is wrong with the value of the secret ``name``, and how to correct it; None where nothing is wrong.

    The text never contains the value or a part of it.
    """
    if not isinstance(value, str):
        return "is not text; put it in quotes"
    if not value.strip():
        return "is empty"
    if not _PRINTABLE.fullmatch(value):
        return "contains a space, a control character or a letter outside ASCII; use printable ASCII"
    if _PLACEHOLDER.search(value):
        return "is a placeholder or a well-known word; use a random value"
    if len(value) < MIN_LENGTH:
        return f"has {len(value)} characters; use at least {MIN_LENGTH}"
    if len(set(value)) < 6:
        return "repeats a few characters; use a random value"
    if name in _PLAIN_ONLY and not _PLAIN.fullmatch(value):
        return (
            "contains a character with a meaning in its configuration file; use letters, digits and ._~+=@:/-"
        )
    return None


def faults(given, names, imported=()):
    """
    Return what is wrong with the secrets ``given``, as lines; empty where all exist, are strong and differ.

    given
        ``{NAME: value}``.
    names
        The names that have to exist.
    imported
        More names that have to exist, of secrets that nobody here can generate.
    """
    found: list[str] = []
    seen: dict[str, str] = {}
    for name in [*names, *imported]:
        value = given.get(name)
        if value is None and name in imported:
            found.append(
                f"secrets:{name}: missing; import it: salt-run fanatico.secrets_import (docs/operations.md#secrets)"
            )
        elif value is None:
            found.append(
                f"secrets:{name}: missing; run salt-run fanatico.secrets_init, or import a value of your own"
            )
        elif weakness(name, value):
            found.append(f"secrets:{name}: {weakness(name, value)}")
        elif value in seen:
            found.append(
                f"secrets:{name}: has the same value as {seen[value]}; use a different value for each"
            )
        else:
            seen[value] = name
    return found


def misplaced(given, allowed):
    """
    Return a line for each secret that is in the pillar of nodes whose roles do not need it.

    given
        ``{node: [names of the secrets in its pillar]}``.
    allowed
        ``{node: [names of its roles' secrets]}``.
    """
    wrong: dict[str, list[str]] = {}
    for node, names in given.items():
        for name in names:
            if name not in allowed[node]:
                wrong.setdefault(name, []).append(node)
    return [
        f"secrets:{name}: is in the pillar of {', '.join(nodes)}, which must not have it; keep it in pillar/secrets/<role>.sls"
        for name, nodes in wrong.items()
    ]


def not_taken(values, names, present, replace=False):
    """
    Return why some of the operator's ``values`` are refused, as lines; empty where all are accepted.

    values
        ``{NAME: value}`` of the operator.
    names
        The names of all secrets.
    present
        ``{NAME: value}`` of the existing secrets.
    replace
        Whether existing secrets may be replaced.
    """
    lines = []
    for name, value in values.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            lines.append(
                f"{name}: unknown; {f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(names)}"
            )
        elif weakness(name, value):
            lines.append(f"{name}: {weakness(name, value)}")
        elif present.get(name, value) != value and not replace:
            lines.append(f"{name}: already has another value; replace it with replace=True")
    return lines


def header(names):
    """Return the readable head of a secrets file with ``names``."""
    return _HEADER + "".join(f"#   {name}\n" for name in names)


def together(names):
    """
    Return ``names`` and the names of the secrets that have to be rotated together with them.

    etcd refuses all tokens after the password of a user has changed, but Patroni 4.0 logs in again only where its token has
    become invalid, which a new key of etcd's tokens does.
    """
    passwords = {"ETCD_ROOT_PASSWORD", "ETCD_PATRONI_PASSWORD"}
    also = ["ETCD_TOKEN_KEY"] if passwords & set(names) else []
    return list(dict.fromkeys([*names, *also]))


def content(values, former):
    """
    Return the text that is encrypted into a secrets file: ``{NAME: value}`` under the pillar key ``secrets``.

    former
        The former values during a rotation, under ``secrets_former``: some services need them until they have the new ones.

    JSON is YAML that always parses, so no error message of a parser can contain a value.
    """
    held = {"secrets": values} | ({"secrets_former": former} if former else {})
    return json.dumps(held, indent=1) + "\n"
