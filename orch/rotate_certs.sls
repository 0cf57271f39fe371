# Every certificate and key anew, the authorities included, while everything serves: both are trusted before the new ones
# sign, and until the old have gone. Begun again after it broke off, it goes on where it was.
#
#   salt-run state.orchestrate orch.rotate_certs
Check the pillar:
  salt.runner:
    - failhard: True
    - name: fanatico.validate

Keep other changes away:
  salt.runner:
    - failhard: True
    - name: fanatico.lock
    - require:
      - salt: Check the pillar

Every machine answers:
  salt.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - salt: Keep other changes away

Successors of the authorities are ready:
  salt.runner:
    - failhard: True
    - name: fanatico.ca_prepare
    - require:
      - salt: Every machine answers

Every node trusts both:
  salt.runner:
    - failhard: True
    - name: state.orchestrate
    - mods: orch.certify
    - require:
      - salt: Successors of the authorities are ready

The successors sign:
  salt.runner:
    - failhard: True
    - name: fanatico.ca_switch
    - require:
      - salt: Every node trusts both

Every node has a new certificate:
  salt.runner:
    - failhard: True
    - name: state.orchestrate
    - mods: orch.certify
    - require:
      - salt: The successors sign

The old authorities go:
  salt.runner:
    - failhard: True
    - name: fanatico.ca_retire
    - require:
      - salt: Every node has a new certificate

Every node trusts the new ones alone:
  salt.runner:
    - failhard: True
    - name: state.orchestrate
    - mods: orch.certify
    - require:
      - salt: The old authorities go

Prove it end to end:
  salt.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ salt["fanatico_plan.nodes"]("patroni")[0] }}
    - timeout: 60
    - require:
      - salt: Every node trusts the new ones alone

Let other changes in again:
  salt.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - salt: Prove it end to end
