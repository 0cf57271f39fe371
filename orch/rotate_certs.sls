# Every certificate and key anew, the authorities included, while everything serves: both are trusted before the new ones
# sign, and until the old have gone. Begun again after it broke off, it goes on where it was.
#
#   salt-run state.orchestrate orch.rotate_certs
Check the pillar:
  step.runner:
    - failhard: True
    - name: fanatico.validate

Keep other changes away:
  step.runner:
    - failhard: True
    - name: fanatico.lock
    - require:
      - step: Check the pillar

Every machine answers:
  step.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - step: Keep other changes away

Successors of the authorities are ready:
  step.runner:
    - failhard: True
    - name: fanatico.ca_prepare
    - acts: True
    - require:
      - step: Every machine answers

Every node trusts both:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: Successors of the authorities are ready

The successors sign:
  step.runner:
    - failhard: True
    - name: fanatico.ca_switch
    - acts: True
    - require:
      - step: Every node trusts both

Every node has a new certificate:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: The successors sign

The old authorities go:
  step.runner:
    - failhard: True
    - name: fanatico.ca_retire
    - acts: True
    - require:
      - step: Every node has a new certificate

Every node trusts the new ones alone:
  step.orchestration:
    - failhard: True
    - name: orch.certify
    - require:
      - step: The old authorities go

Prove it end to end:
  step.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ salt["fanatico_plan.nodes"]("patroni")[0] }}
    - timeout: 60
    - require:
      - step: Every node trusts the new ones alone

Let other changes in again:
  step.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - step: Prove it end to end
