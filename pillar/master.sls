master: {}
