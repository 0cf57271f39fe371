#!/bin/bash
# Managed by Salt (salt/keepalived). Run by Keepalived once a second. Plain bash, because it costs a millisecond or two only.
# Exit code 1: another balancer serves public traffic better, according to the local HAProxy on its stats port (first
# argument). If HAProxy does not answer, haproxy-answers decides.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
printf 'GET /edge HTTP/1.0\r\n\r\n' >&3
read -r -t 0.7 _ code _ <&3
[ "$code" != 503 ]
