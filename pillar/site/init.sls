#!yaml
# This installation's own settings, merged over every other file here. Any key of this directory's files may stand
# in it, for example:
#
#   rpc:
#     chain: {id: 1337}
#     artifact: {kind: binary, source: salt://artifacts/fanatico-l1, sha256: ...}
#   postgresql:
#     parameters: {shared_buffers: 8GB}
#
# Not topology: that is plan.sls alone. Never a secret: every node is given this file.
{}
