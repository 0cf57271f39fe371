keepalived: {}
