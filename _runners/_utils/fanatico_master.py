"""
What runners share: refusals, the path of the pillar, and the pillar of a node as the master compiles it. Master only.
"""

import contextlib
import functools
import inspect
import json
import logging
import pathlib
import re
import types

import salt.exceptions
import salt.loader
import salt.pillar
import salt.template
import salt.utils.yaml

import fanatico_interrupt
import fanatico_validate


class Refusal(salt.exceptions.CommandExecutionError, salt.exceptions.NotImplemented):
    """
    A request that is refused. The message is the reason and the next step.

    ``NotImplemented`` is the only exception that ``salt-run`` shows as its message alone, without a traceback.
    As with any other, the exit code is 1, and a step of an orchestration fails.
    """


def refuse(message):
    """Raise :class:`Refusal` with ``message``, which is printed as it is."""
    raise Refusal(message)


def plain(namespace):
    """
    Wrap every public function of a runner file, so that an operator's mistake ends in one sentence, with exit code 1.

    namespace
        The file's ``globals()``. Called from its ``__init__``, which the loader runs before it collects the functions.

    Without it Salt shows a traceback for every exception but ``NotImplemented``, and for wrong arguments the whole documentation
    with exit code 0. Errors in our own code keep their traceback.
    """
    fanatico_interrupt.prepare(namespace.get("__opts__", {}))
    for name, function in list(namespace.items()):
        # The name first: Salt leaves a reference to a closed event bus in the namespace, which must not be touched.
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if function.__module__ == namespace["__name__"]:
            namespace[name] = _plain(function)


def _plain(function):
    call = functools.partial(_call, function, inspect.signature(function))

    def entry(*args, **kwargs):
        return call(args, kwargs)

    # Salt writes the job's id into the globals of the function that it calls: they have to be those of the runner file.
    entry = types.FunctionType(
        entry.__code__, function.__globals__, function.__name__, None, entry.__closure__
    )
    functools.update_wrapper(entry, function)
    del entry.__dict__[
        "__wrapped__"
    ]  # Salt would check the arguments against it, and print the documentation
    return entry


def _call(function, signature, args, kwargs):
    given = {name: value for name, value in kwargs.items() if not name.startswith("__")}
    fault = _misfit(signature, args, given)
    if fault:
        name = _name(function)
        raise Refusal(f"{name}{signature}: {fault}. Nothing was changed. Next: salt-run -d {name}")
    try:
        with fanatico_interrupt.interruptible():
            return function(*args, **given)
    except fanatico_interrupt.Interrupted:
        raise Refusal(
            f"{_name(function)}: {fanatico_interrupt.WORDS.format(next='salt-run fanatico.status, then ')}"
        ) from None
    except Refusal:
        raise
    except salt.exceptions.SaltException as exc:
        raise Refusal(str(exc)) from exc
    except OSError as exc:
        raise Refusal(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)) from exc
    except Exception as exc:
        faults = _plan_faults(function.__globals__)
        if not faults:
            raise
        raise Refusal(
            f"The plan is not valid: {'; '.join(faults)}. Next: salt-run fanatico.validate"
        ) from exc


def _name(function):
    return f"{function.__globals__['__virtualname__']}.{function.__name__}"


def _plan_faults(dunders):
    """Return what is wrong with the plan alone; ``dunders``: the globals of a runner file."""
    opts = dunders["__opts__"]
    schema = json.loads((root(opts) / "schema.json").read_text(encoding="utf-8"))
    found = fanatico_validate.faults({"plan": plan(opts)}, schema)
    return [fault for fault in found if fault.startswith("plan")]


def _misfit(signature, args, given):
    """Return what is wrong with the arguments of a call; empty where nothing is."""
    try:
        bound = signature.bind(*args, **given).arguments
    except TypeError as exc:
        return str(exc)
    for name, value in bound.items():
        default = signature.parameters[name].default
        if type(default) in (int, float) and type(value) not in (int, float):
            return f"{name} has to be a number, not {value!r}"
        if type(default) is bool and type(value) is not bool:
            return f"{name} has to be True or False, not {value!r}"
    return ""


def known(plan, names, role=None):
    """
    Return ``names`` as a list of nodes of the plan; raises where a name is not in it.

    plan
        What ``plan`` returned.
    names
        A minion id or a list of them.
    role
        The role that each must have, if any.
    """
    names = [names] if isinstance(names, str) else list(names)
    nodes = [node for node, described in plan["nodes"].items() if role is None or role in described["roles"]]
    unknown = [str(name) for name in names if name not in nodes]
    if unknown:
        which = f"no node of the plan with the role {role}; those" if role else "not in the plan, whose nodes"
        raise Refusal(f"{', '.join(unknown)}: {which} are {', '.join(nodes)}. Nothing was changed.")
    return names


def root(opts):
    """
    Return the directory with ``plan.sls``; raises where no pillar root has it.

    opts
        The master's.
    """
    roots = opts["pillar_roots"].get("base", [])
    for path in map(pathlib.Path, roots):
        if (path / "plan.sls").is_file():
            return path
    raise Refusal(
        f"No plan.sls in {' or '.join(map(str, roots)) or 'any pillar root'}. Next: set pillar_roots in the master's "
        "configuration to the pillar directory of the repository."
    )


def plan(opts):
    """
    Return the value of ``plan`` in ``plan.sls``, unchecked; raises where the file is not valid YAML.

    opts
        The master's.
    """
    path = root(opts) / "plan.sls"
    try:
        content = salt.utils.yaml.safe_load(path.read_text())
    except salt.utils.yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(exc, "problem", None) or exc
        raise Refusal(f"{path}{where}: not valid YAML ({what}). Nothing was changed.") from exc
    return content.get("plan") if isinstance(content, dict) else None


def compiled(opts, node):
    """
    Return ``(pillar, faults)`` of the minion ``node``, compiled as the master does, GPG included.

    opts
        The master's.

    A fault is a line that names the file. Nothing is logged, and no fault quotes a secrets file.
    """
    # The pillar={...} of an orchestration is in the options of its runners, and in the pillar of no node.
    opts = dict(opts, pillar_safe_render_error=False, pillar={})
    with _silence():
        pillar = salt.pillar.Pillar(opts, {}, node, "base").compile_pillar()
    pillar.pop("unsound", None)  # the callers validate the pillar themselves, over all nodes
    errors = pillar.pop("_errors", [])
    return pillar, [_readable(str(error), opts) for error in errors]


def rendered(opts, path):
    """
    Return the content of one file of the pillar, rendered by itself; raises, without quoting it, where it does not render.

    opts
        The master's.
    path
        The file. Its first line names the renderers.
    """
    renderers = salt.loader.render(opts, {})
    blacklist, whitelist = opts["renderer_blacklist"], opts["renderer_whitelist"]
    with _silence():
        try:
            content = salt.template.compile_template(str(path), renderers, "yaml", blacklist, whitelist)
        except salt.exceptions.SaltRenderError as exc:
            raise Refusal(_unreadable(path, str(exc), opts)) from None
    return content if isinstance(content, dict) else {}


def gpg_home(opts):
    """Return the directory with the keys of Salt's gpg renderer."""
    home = opts.get("gpg_keydir") or pathlib.Path(opts["config_dir"], "gpgkeys")
    return pathlib.Path(home)


@contextlib.contextmanager
def _silence():
    """Log nothing meanwhile: Salt logs the lines around a parse error, and in a secrets file those are secrets."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _readable(error, opts):
    failed = re.match(
        r"Rendering SLS '(?P<sls>[^']+)' failed, render error:\s*(?P<detail>.*)", error, re.DOTALL
    )
    if not failed:
        return f"pillar: {_gist(error)}"
    path = root(opts) / failed["sls"].replace(".", "/")
    path = path / "init.sls" if path.is_dir() else path.with_suffix(".sls")
    if path.parent.name == "secrets":
        return _unreadable(path, failed["detail"], opts)
    return f"{path}: {_gist(failed['detail'])}"


def _unreadable(path, detail, opts):
    """Return why a secrets file does not render, without its content."""
    if "Could not decrypt" not in detail:
        return (
            f"{path}: not valid YAML after decryption. Next: write it with salt-run fanatico.secrets_import"
        )
    messages = re.findall(r"gpg: ((?:decryption failed|no valid|can't)[^\\\n]*)", detail)
    why = f" ({messages[-1]})" if messages else ""
    return f"{path}: cannot be decrypted{why}. Next: restore the key in {gpg_home(opts)}, or remove the file"


def _gist(detail):
    """Return a parser's message on one line: its sentences, and the line of the error or its number."""
    lines = [line for line in detail.split("\n---")[0].splitlines() if line.strip()]
    message = ", ".join(line.strip(" :") for line in lines if not line.startswith(" "))
    pointed = [line.split("<====")[0].strip() for line in detail.splitlines() if "<====" in line]
    number = re.findall(r"\bline (\d+), column", detail)
    return message + (f" ({pointed[0]})" if pointed else f" (line {number[-1]})" if number else "")
