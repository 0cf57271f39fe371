#!/bin/bash
# Managed by Salt (salt/keepalived). Run by Keepalived twice a second. Plain bash, because it costs a millisecond or two only.
# Writing the empty file proves that Keepalived is alive.
# Exit code 0: the local HAProxy answers a request for /live on its stats port (first argument).
: 2>/dev/null >/run/keepalived.asked
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET /live HTTP/1.0\r\n\r\n' >&3
read -r -t 0.35 _ code _ <&3 && [ "$code" = 200 ]
