{{ salt["fanatico_orch.begin"]("outer", roles=[]) }}

Run the inner one:
  step.orchestration:
    - failhard: True
    - name: inner
    - pillar:
        wanted: {{ pillar.wanted | json }}
    - require:
      - step: Lock the cluster

{{ salt["fanatico_orch.end"](after="Run the inner one") }}
