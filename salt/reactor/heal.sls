# A unit went down somewhere (_beacons/fanatico.py): hand the facts to orch.heal, which decides.
Heal:
  runner.state.orchestrate:
    - args:
        - mods: orch.heal
        - pillar:
            event: {{ {"host": data["id"], "unit": data["unit"], "why": data["why"]} | json }}
