#!/bin/bash
# Managed by Salt (salt/keepalived). Run by keepalived once a second: bash alone, because it costs a millisecond or two.
# Exit code 1: the public is better served by another balancer, says the HAProxy of this machine on its stats port (first
# argument). Where it says nothing that is for haproxy-answers to judge.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
printf 'GET /edge HTTP/1.0\r\n\r\n' >&3
read -r -t 0.7 _ code _ <&3
[ "$code" != 503 ]
