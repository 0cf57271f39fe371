minion: {}
