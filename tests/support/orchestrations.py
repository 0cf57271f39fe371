"""Orchestrations as a person runs them, and what they print."""


def orchestrate(lab, *words, timeout=400):
    """Run `salt-run state.orchestrate` as a person does; its CompletedProcess."""
    return lab.salt_run("state.orchestrate", *words, timeout=timeout, check=False)


def summary(lines, name="orch.deploy"):
    """{word: what stands behind it} of the summary that the lines end in."""
    pairs = [line.partition(":") for line in lines[lines.index(f"Summary for {name}") :] if ":" in line]
    return {word.strip(): said.strip() for word, _, said in pairs}
