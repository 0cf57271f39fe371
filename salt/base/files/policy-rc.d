#!/bin/sh
# Managed by Salt (salt/base). Asked by Debian's package scripts before they start, stop or restart a service; 101 = don't.
# `systemctl` does not ask: what a person or a state does is not affected.
case "${1%.service}" in
    etcd | patroni | postgresql* | haproxy | keepalived) exit 101 ;;
esac
exit 0
