{{ salt["fanatico_orch.begin"]("inner", roles=[]) }}

Ask the hosts:
  step.function:
    - failhard: True
    - name: {{ pillar.wanted.function }}
    - tgt: {{ pillar.wanted.hosts | json }}
    - tgt_type: list
    - arg: {{ pillar.wanted.get("arg", []) | json }}
    - timeout: {{ pillar.wanted.get("timeout", 5) }}
    - parallel: {{ pillar.wanted.get("parallel", False) | json }}

{{ salt["fanatico_orch.end"](after="Ask the hosts") }}
