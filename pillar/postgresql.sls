postgresql: {}
