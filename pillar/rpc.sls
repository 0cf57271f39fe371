rpc: {}
