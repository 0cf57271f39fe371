haproxy: {}
