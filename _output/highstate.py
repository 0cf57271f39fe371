"""
What one of our orchestrations did, for a person; every other run of states goes to the outputter of Salt that has this name.

``salt-run state.orchestrate`` asks for ``highstate`` by name, so that is the name it has to have. ``--out=json`` gives all of
the data, ``--out=highstate`` what Salt itself would show.
"""

import os
import sys

import salt.loader
import salt.utils.color

ORCHESTRATE = ("state.orchestrate", "state.orch")
PAINTED = {
    "FAILED": "LIGHT_RED",
    "Next:": "YELLOW",
    "Succeeded:": "GREEN",
    "Failed:": "CYAN",
    "Summary": "CYAN",
}


def output(data, **kwargs):
    """
    Return ``data`` as text.

    data
        ``{machine: {tag: result}}``, or the same under ``data`` as ``state.orchestrate`` returns it.
    """
    runs = data.get("data", data) if isinstance(data, dict) else None
    lines = None if __opts__.get("output") == "highstate" or not runs else _lines(runs)
    if lines is None:
        # The same loader, without the places where it finds this file.
        salts = salt.loader.outputters({**__opts__, "module_dirs": [], "extension_modules": os.devnull})
        return salts["highstate"](data, **kwargs)
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    return "\n".join(_painted(line, colors) for line in lines)


def _lines(runs):
    """Return the lines for one of our orchestrations, None for anything else."""
    if __opts__.get("fun") not in ORCHESTRATE:
        return None  # `salt '*' state.apply` comes here for each machine: nothing is loaded for it
    # Salt's loader of outputters is the one that has no utils on its path, and only a master has this one.
    sys.path.extend(f"{folder}/_utils" for folder in __opts__["module_dirs"])
    import fanatico_steps

    if all(map(fanatico_steps.is_orchestration, runs.values())):
        return [line for running in runs.values() for line in fanatico_steps.lines(running)]
    if all(isinstance(run, list) for run in runs.values()):
        return fanatico_steps.not_compiled_lines(runs)
    return None


def _painted(line, colors):
    color = next((color for word, color in PAINTED.items() if line.startswith(word)), None)
    if color is None and " s  FAILED" in line:
        color = PAINTED["FAILED"]
    return f"{colors[color]}{line}{colors['ENDC']}" if color else line
