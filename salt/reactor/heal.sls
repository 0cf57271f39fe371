# Something is wrong somewhere (_beacons/fanatico.py): hand the facts to orch.heal, which decides.
Heal:
  runner.state.orchestrate:
    - args:
        - mods: orch.heal
        - pillar:
            event: {{ {"host": data["id"], "what": data["what"], "why": data["why"]} | json }}
