#!yaml
# The blockchain nodes. Two things only you know, and `salt-run fanatico.validate` insists on them: the chain id, and
# the artefact to install. Best put into site/init.sls.
rpc:
  chain:
    name: fanatico-l1
    version: 0.5.0.0
    id: null                      # number; HAProxy takes a node of another chain out of service
    block_time: 2                 # seconds between two blocks
  # What to install, one of:
  #   an archive:  {kind: archive, source: salt://artifacts/fanatico-l1.tar.gz, sha256: ..., strip: 1, bin: bin/fanatico}
  #                strip: leading directories to drop; bin: the program, as a path inside what is left
  #   a program:   {kind: binary, source: https://downloads.example.org/fanatico-l1, sha256: ...}
  #   a package:   {kind: package, package: {name: fanatico-l1, version: 0.5.0.0, repo: "deb ..."}, bin: /usr/bin/fanatico}
  # sha256 is that of the file as downloaded; another file is refused.
  artifact: {}
  ws: native                      # proxy: the program serves WebSocket on its HTTP port; ws_port leads there
  exec:
    args: []                      # {address} {http_port} {ws_port} {chain_id} {block_time} are filled in
    env: {}
    limits: {}                    # of the systemd unit, for example {MemoryMax: 16G}
