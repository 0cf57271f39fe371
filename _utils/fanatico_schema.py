"""
Validate the structure of a pillar against ``pillar/schema.json``, with messages that show the correct value.
"""

import copy
import difflib
import ipaddress

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def faults(pillar, schema):
    """Yield ``(path, text)`` for everything in ``pillar`` that ``schema`` does not allow; ``path`` is a list of keys."""
    import jsonschema  # here, because it takes 0.1 s and minions never need it

    formats = jsonschema.FormatChecker(["ipv4"])
    formats.checks("ipv4-network", raises=ValueError)(_is_network)
    validator = jsonschema.Draft202012Validator(schema, format_checker=formats)
    for error in validator.iter_errors(pillar):
        path = list(error.absolute_path)
        if path[:1] == ["secrets"] and path[1:]:
            continue  # fanatico_secrets.faults reports it without the value
        yield from _explain(error, path, schema)


def _is_network(value):
    return not isinstance(value, str) or bool(ipaddress.IPv4Network(value))


def _explain(error, path, schema):
    right = _description(schema, path)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield [*path, name], f"missing; {_description(schema, [*path, name])}"
    elif error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for name in error.instance:
            if name not in known:
                yield [*path, name], f"unknown; {_nearest(name, known, path, schema)}"
    elif "propertyNames" in error.absolute_schema_path:
        # Here the instance is the key, and the path is that of its mapping.
        yield [*path, error.instance], _sentence("not a valid name", error.schema.get("description"))
    elif error.validator == "enum":
        near = difflib.get_close_matches(str(error.instance), [str(x) for x in error.validator_value], 1)
        wrong = f"unknown value {_shown(error.instance)}"
        yield path, f"{wrong}; did you mean {near[0]}?" if near else _sentence(wrong, right)
    elif error.validator == "type":
        types = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        wanted = " or ".join(_TYPES[name] for name in types if name != "null")
        yield path, _sentence(f"{_shown(error.instance)} is not {wanted}", right)
    elif error.validator == "uniqueItems":
        yield path, "duplicate entry; remove one of them"
    elif error.validator in ("minItems", "minProperties", "minLength"):
        yield path, _sentence("empty", right)
    else:
        wrong = {"minimum": "too small", "maximum": "too large"}.get(error.validator, "not valid")
        yield path, _sentence(f"{_shown(error.instance)} is {wrong}", right)


def _sentence(wrong, right):
    return f"{wrong}; should be {right}" if right else wrong


def _shown(value):
    text = "nothing" if value is None else "a mapping" if isinstance(value, dict) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _at(schema, path):
    """Return the sub-schema for a pillar path, with its ``$ref`` resolved and merged."""
    here = schema
    for key in path:
        here = _resolved(schema, here)
        if isinstance(key, int):
            here = here.get("items", {})
        else:
            here = here.get("properties", {}).get(key, here.get("additionalProperties"))
        if not isinstance(here, dict):
            return {}
    return _resolved(schema, here)


def _resolved(schema, here):
    if "$ref" not in here:
        return here
    return {**schema["$defs"][here["$ref"].removeprefix("#/$defs/")], **here}


def _description(schema, path):
    return _at(schema, path).get("description")


def _nearest(name, known, path, schema):
    """Return the nearest known key for an unknown one: in the same mapping, else elsewhere in the pillar."""
    near = difflib.get_close_matches(str(name), known, 1, 0.6)
    if near:
        return f"did you mean {near[0]}?"
    elsewhere = [
        ":".join(other) for other in _paths(schema, schema) if other[-1] == name and other[:-1] != path
    ]
    if elsewhere:
        return f"it belongs to {' or '.join(elsewhere)}"
    return f"known keys: {', '.join(known) or 'none'}"


def _paths(schema, here, path=()):
    for name, below in _resolved(schema, here).get("properties", {}).items():
        yield (*path, name)
        yield from _paths(schema, below, (*path, name))


def without(pillar, paths):
    """Return a copy of ``pillar`` without the values at ``paths``, so that the rest can still be checked."""
    sound = copy.deepcopy(dict(pillar))
    for path in paths:
        if path[:2] == ["plan", "networks"]:
            whole = path[:2]  # with one network unknown, no address can be checked against all networks
        elif path[:2] == ["plan", "nodes"]:
            whole = path[:4]  # a list of roles with an invalid entry is dropped as a whole
        else:
            whole = path
        above = _reached(sound, whole[:-1])
        if isinstance(above, dict):
            above.pop(whole[-1], None)
    return sound


def _reached(data, path):
    """Return the value at a list of keys; None if it does not exist, because an earlier fault removed it."""
    try:
        for key in path:
            data = data[key]
    except (KeyError, IndexError, TypeError):
        return None
    return data
