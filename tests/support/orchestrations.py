"""Orchestrations as an operator runs them, and their output."""


def orchestrate(lab, *words, timeout=400):
    """Run `salt-run state.orchestrate` as an operator does; return its CompletedProcess."""
    return lab.salt_run("state.orchestrate", *words, timeout=timeout, check=False)


def summary(lines, name="orch.deploy"):
    """{label: value} of the summary at the end of the output."""
    pairs = [line.partition(":") for line in lines[lines.index(f"Summary for {name}") :] if ":" in line]
    return {word.strip(): said.strip() for word, _, said in pairs}
