heal: {}
