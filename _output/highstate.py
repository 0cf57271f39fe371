"""
Print the result of an orchestration of this project; other state runs are passed to Salt's own outputter ``highstate``.

``salt-run state.orchestrate`` uses the outputter named ``highstate``, hence the name. ``--out=json`` prints all data,
``--out=highstate`` uses Salt's own output.
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
        # The same loader, without the folders that contain this file.
        salts = salt.loader.outputters({**__opts__, "module_dirs": [], "extension_modules": os.devnull})
        return salts["highstate"](data, **kwargs)
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    return "\n".join(_painted(line, colors) for line in lines)


def _lines(runs):
    """Return the lines for one of our orchestrations, None for anything else."""
    if __opts__.get("fun") not in ORCHESTRATE:
        return None  # `salt '*' state.apply` calls this for each machine: do not load anything
    # Salt's loader for outputters has no utils in its path, and only a master has this file.
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
