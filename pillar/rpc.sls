#!yaml
# The blockchain nodes. Two settings have no default, and `salt-run fanatico.validate` requires them: the chain id, and
# the artifact to install. Put them into site/init.sls.
rpc:
  chain:
    name: fanatico-l1
    version: 0.5.0.0
    id: null                      # number; HAProxy removes a node of another chain from rotation
    block_time: 2                 # seconds between two blocks
  # What to install, one of:
  #   an archive:  {kind: archive, source: salt://artifacts/fanatico-l1.tar.gz, sha256: ..., strip: 1, bin: bin/fanatico}
  #                strip: leading directories to remove; bin: the path of the program after that
  #   a program:   {kind: binary, source: https://downloads.example.org/fanatico-l1, sha256: ...}
  #   a package:   {kind: package, package: {name: fanatico-l1, version: 0.5.0.0, repo: "deb ..."}, bin: /usr/bin/fanatico}
  # sha256 is the hash of the downloaded file; any other file is refused.
  artifact: {strip: 0}
  # When a node takes traffic, compared with the best of the others. If all nodes look bad, the best of them stay in rotation.
  health:
    max_lag: 3                    # blocks of lag; above it, or two blocks behind without progress for two block times,
                                  # a node gets no new requests until it has caught up
    max_jump: 1000                # a head this many blocks above all others, which agree, is not trusted
    min_peers: 0                  # minimum number of peers; 0: no check, for a chain whose nodes find each other in another way
  # What public clients may call (HAProxy, on the balancers), and how much. Methods by name, or by prefix.
  edge:
    allowed: [eth_, net_, web3_]  # all other methods are refused
    paths: [/]                    # of both ports
    # Refused even if `allowed` contains them: methods that control the node, sign, or send with keys of the node.
    forbidden: [admin_, debug_, personal_, miner_, txpool_, engine_, eth_sendTransaction, eth_sign]
    heavy: [eth_getLogs, eth_getFilterLogs, eth_newFilter, eth_feeHistory, eth_simulateV1, trace_]
    write: [eth_sendRawTransaction]  # never retried; all other methods are reads
    limits: {read: 2000, heavy: 200, write: 200}  # calls of one client address in 10 seconds
    timeouts: {read: 15, heavy: 60, write: 30}  # seconds for the node to answer
    body_limit: 120000            # bytes: room for the largest contract that can be deployed
    batch_limit: 20               # calls in one request; each counts as one call
    max_large_requests: 20        # concurrent requests of one client that exceed a buffer (about 15 KiB) or are chunked
    max_concurrent_per_node: 500  # concurrent requests on one node, and the same number in its queue
    max_websockets_per_client: 50  # concurrent WebSockets of one client address
    connections: 200              # concurrent connections of one address, to both ports; CloudFlare's are not counted
    refused: 200                  # refused requests of one client in 10 seconds, after which all its requests are refused
    unlimited: []                 # networks without these limits: your own
    origins: []                   # web pages that may call (CORS), for example https://app.example.org; ["*"]: any
  # native: the program serves WebSocket on ws_port, and its own settings must exclude the methods of edge.forbidden there (geth:
  # --ws.api eth,net,web3). proxy: a filter proxy serves ws_port, refuses these methods, and connects to the program's HTTP port.
  ws: native
  follow: false                   # true (lab): the nodes are anvils without a network; anvil_chain.py makes them one chain
  # For the chain nodes only, as `artifact` is: the balancers do not get these two.
  exec:
    # Every user on the host sees arguments (`ps`, the unit). Put a token into `env`, a file that only root can read.
    args: []                      # {address} {http_port} {ws_port} {chain_id} {block_time} are replaced
    env: {}
    limits: {LimitNOFILE: 65536}  # of the systemd unit; add others, for example {MemoryMax: 16G}
