# Replaces every certificate and key, and the authorities, without a write outage: hosts trust the old and the new authorities
# before the new authorities sign, and until the old ones are retired. After an interruption, run it again: it resumes.
#
#   salt-run state.orchestrate orch.rotate_certs
{{ salt["fanatico_orch.begin"]("rotate_certs") }}

Create the new authorities:
  step.runner:
    - failhard: True
    - name: fanatico.ca_prepare
    - acts: True
    - require:
      - step: Refresh the pillar of every host

Trust the old and the new authorities on every host:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: Create the new authorities

Sign with the new authorities:
  step.runner:
    - failhard: True
    - name: fanatico.ca_switch
    - acts: True
    - require:
      - step: Trust the old and the new authorities on every host

Install the new certificates:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: Sign with the new authorities

Retire the old authorities:
  step.runner:
    - failhard: True
    - name: fanatico.ca_retire
    - acts: True
    - require:
      - step: Install the new certificates

Trust only the new authorities on every host:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: Retire the old authorities

{{ salt["fanatico_orch.prove"](after="Trust only the new authorities on every host") }}
{{ salt["fanatico_orch.end"](after="Prove the service end to end") }}
