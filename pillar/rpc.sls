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
  artifact: {strip: 0}
  # When a node takes traffic. Compared with the best of the others; where all look bad, the least bad stay.
  health:
    max_lag: 3                    # blocks behind; further, or two blocks behind and not moving for two block times, and it
                                  # gets no new requests until it has caught up
    max_jump: 1000                # a head that is so many blocks above all others, which agree, is not believed
    min_peers: 0                  # peers it has to have; 0: not asked, as for a chain whose nodes know each other otherwise
  # What the public may ask (HAProxy, on the balancers), and how much. Methods by name, or by how they begin.
  edge:
    allowed: [eth_, net_, web3_]  # nothing else gets through
    paths: [/]                    # of both ports
    # Never, whatever `allowed` says: what rules the node, and what signs or sends with keys that the node holds.
    forbidden: [admin_, debug_, personal_, miner_, txpool_, engine_, eth_sendTransaction, eth_sign]
    heavy: [eth_getLogs, eth_getFilterLogs, eth_newFilter, eth_feeHistory, eth_simulateV1, trace_]
    write: [eth_sendRawTransaction]                # never asked a second time; all others are reads
    limits: {read: 2000, heavy: 200, write: 200}   # calls of one client address in 10 seconds
    timeouts: {read: 15, heavy: 60, write: 30}     # seconds for the node to answer
    body_limit: 120000            # bytes: the largest contract that may be deployed fits in
    batch_limit: 20               # calls in one request; each counts as one
    max_large_requests: 20        # requests of one client at once that fit into no buffer (some 15 KiB), or are chunked
    max_concurrent_per_node: 500  # requests that one node works on at the same time, and as many that wait for it
    max_websockets_per_client: 50 # WebSockets of one client address at once
    connections: 200              # connections of one address at once, to both ports; CloudFlare's are not counted
    refused: 200                  # requests of one client in 10 seconds that are refused one by one; then all of its are
    unlimited: []                 # networks without such limits: your own
    origins: []                   # whose web pages may ask (CORS), for example https://app.example.org; ["*"]: any
  # native: the program serves WebSocket on ws_port, and its own settings keep out there what edge.forbidden names (geth:
  # --ws.api eth,net,web3). proxy: a small program serves ws_port, refuses that, and leads to the program's HTTP port.
  ws: native
  follow: false                   # true: the nodes are anvils without a network, made one chain by anvil_chain.py (the lab)
  # To the chain nodes alone, as `artifact` is: the balancers are not given these two.
  exec:
    # Everybody on the host sees arguments (`ps`, the unit); a token belongs into `env`, which is a file for root alone.
    args: []                      # {address} {http_port} {ws_port} {chain_id} {block_time} are filled in
    env: {}
    limits: {LimitNOFILE: 65536}  # of the systemd unit; others beside it, for example {MemoryMax: 16G}
