#!yaml
# The settings of this installation, merged over every other file here. Every key of this directory's files is allowed,
# for example:
#
#   rpc:
#     chain: {id: 1337}
#     artifact: {kind: binary, source: salt://artifacts/fanatico-l1, sha256: ...}
#   postgresql:
#     parameters: {shared_buffers: 8GB}
#
# No topology: that is in plan.sls only. No secrets: every node gets this file.
{}
