"""
What makes a secret good enough, and how a strong one is made. No answer here repeats a value.
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

# Sign of a value that somebody meant to replace. Words long enough never to turn up in a random value.
_PLACEHOLDER = re.compile(
    r"pass[-_]?wor[dt]|change[-_]?(me|it|this)|replace|placeholder|example|default|insert|secret|fanatico|dummy"
    r"|qwerty|letmein|abcdef|012345|123456|xxxx|\*\*\*\*|^test|^todo|^your|^<.*>$|^\{\{",
    re.IGNORECASE,
)

# These are written into files with a syntax of their own (haproxy.cfg, keepalived.conf), in which quotes, # and $
# mean something; etcd's token is also part of log lines.
_PLAIN_ONLY = ("HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS", "ETCD_CLUSTER_TOKEN", "ETCD_TOKEN_KEY")
_PLAIN = re.compile(r"[A-Za-z0-9._~+=@:/-]*")
_PRINTABLE = re.compile(r"[!-~]*")

_HEADER = """\
#!gpg|yaml
# Written by `salt-run fanatico.secrets_init` and `salt-run fanatico.secrets_import`. Holds:
"""


def generate():
    """Return a new strong value. One in thirty thousand holds what looks like a placeholder, such as xxxX: not that one."""
    while True:
        value = "".join(secrets.choice(_ALPHABET) for _ in range(GENERATED_LENGTH))
        if not weakness("", value):
            return value


def weakness(name, value):
    """
    Return what is wrong with the value of the secret ``name``, and what would be right; None when nothing is.

    The answer never holds the value or a part of it.
    """
    if not isinstance(value, str):
        return "is not text; put it in quotes"
    if not value.strip():
        return "is empty"
    if not _PRINTABLE.fullmatch(value):
        return "holds a space, a control character or a letter outside ASCII; use printable ASCII"
    if _PLACEHOLDER.search(value):
        return "is a placeholder or a well-known word; use a random value"
    if len(value) < MIN_LENGTH:
        return f"has {len(value)} characters; use at least {MIN_LENGTH}"
    if len(set(value)) < 6:
        return "repeats a few characters; use a random value"
    if name in _PLAIN_ONLY and not _PLAIN.fullmatch(value):
        return "holds a character with a meaning in the file it goes into; use letters, digits and ._~+=@:/-"
    return None


def faults(given, names):
    """
    Return what is wrong with the secrets ``given`` as lines; empty when all are there, strong and different.

    given
        ``{NAME: value}``.
    names
        The names that must be there.
    """
    found: list[str] = []
    seen: dict[str, str] = {}
    for name in names:
        value = given.get(name)
        if value is None:
            found.append(f"secrets:{name}: missing; run `salt-run fanatico.secrets_init`, or import your own")
        elif weakness(name, value):
            found.append(f"secrets:{name}: {weakness(name, value)}")
        elif value in seen:
            found.append(f"secrets:{name}: is the same as {seen[value]}; give each its own")
        else:
            seen[value] = name
    return found


def misplaced(given, allowed):
    """
    Return a line for each secret that is in the pillar of nodes whose roles give them no right to it.

    given
        ``{node: [names of the secrets in its pillar]}``.
    allowed
        ``{node: [names of its roles' secrets]}``.
    """
    seers: dict[str, list[str]] = {}
    for node, names in given.items():
        for name in names:
            if name not in allowed[node]:
                seers.setdefault(name, []).append(node)
    return [
        f"secrets:{name}: {', '.join(nodes)} must not see it; keep it in pillar/secrets/<role>.sls alone"
        for name, nodes in seers.items()
    ]


def not_taken(values, names, present, replace=False):
    """
    Return why some of an operator's own ``values`` are not taken, as lines; empty when all are.

    values
        ``{NAME: value}``, the operator's.
    names
        All names there are.
    present
        ``{NAME: value}`` of what is there already.
    replace
        Whether another value may take the place of one that is there.
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
            lines.append(f"{name}: has another value already; pass replace=True to replace it")
    return lines


def header(names):
    """Return the readable top of a secrets file that holds ``names``."""
    return _HEADER + "".join(f"#   {name}\n" for name in names)


def together(names):
    """
    Return the names of the secrets that have to change when these do.

    etcd refuses all tokens once a user's password is another one, but Patroni 4.0 logs in again only where a token is
    not valid any more: which it is when the key is another one too.
    """
    passwords = {"ETCD_ROOT_PASSWORD", "ETCD_PATRONI_PASSWORD"}
    also = ["ETCD_TOKEN_KEY"] if passwords & set(names) else []
    return list(dict.fromkeys([*names, *also]))


def content(values, former):
    """
    Return what is encrypted into a secrets file: ``{NAME: value}`` under the pillar key ``secrets``.

    former
        While secrets are rotated, the values before, under ``secrets_former``: what still asks for them can be told.

    JSON is YAML that cannot fail to parse, and so never gets a value into the error message of a parser.
    """
    held = {"secrets": values} | ({"secrets_former": former} if former else {})
    return json.dumps(held, indent=1) + "\n"
