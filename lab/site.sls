# Settings of a lab only; merged over the committed pillar as pillar/site.
minion:
  install: {wheels: /srv/packages/wheels}

# Foundry's anvil replaces the operator's chain node. It has no peers, so a small program makes three of them one chain. It
# serves WebSocket on its HTTP port, so a proxy serves it on a separate port.
rpc:
  chain: {id: 1337, block_time: 2}
  artifact:
    kind: archive
    source: salt://artifacts/anvil-linux-amd64-1.7.1.tgz
    sha256: 5727dd8f08f3bf6dde4ec1d9832e87c43f9315ef824bff1ab18486bf51bc7af3
    strip: 1
    bin: bin/anvil
  exec:
    # All nodes need the same genesis and the same order of transactions to be one chain.
    args: [--host, "{address}", --port, "{http_port}", --chain-id, "{chain_id}", --timestamp, 1760000000,
           --no-mining, --order, fifo, --prune-history, 64, --quiet]
    limits: {MemoryMax: 1G}
  ws: proxy
  follow: true
  # The defaults and anvil's own methods, which could for example set the clock of the chain.
  edge: {forbidden: [admin_, debug_, personal_, miner_, txpool_, engine_, eth_sendTransaction, eth_sign, anvil_, evm_, hardhat_]}
