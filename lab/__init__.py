"""The lab: the whole topology on one Linux machine, as systemd-nspawn machines on an isolated network."""
