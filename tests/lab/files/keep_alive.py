"""Run on a database machine: keep a lease alive at a member of etcd over many connections, as Patroni does over one, and print as
JSON the answers: {answer: count}. A missing answer is not counted.

keep_alive.py ADDRESS SECONDS: it ends with its standard input, or after so many seconds.
"""

import collections
import http.client
import json
import ssl
import sys
import threading
import time

CONNECTIONS = 24
PKI = "/etc/patroni/pki/etcd"

tls = ssl.create_default_context(cafile=f"{PKI}-ca.crt")
tls.load_cert_chain(f"{PKI}.crt", f"{PKI}.key")
address, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
seen = collections.Counter()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()


def keep_alive():
    connection = http.client.HTTPSConnection(address, 2379, context=tls, timeout=3)
    while time.monotonic() < end and not ended.is_set():
        try:
            connection.request("POST", "/v3/lease/keepalive", b'{"ID":"7"}')
            answer = connection.getresponse()
            text = answer.read().decode()
            seen["success" if answer.status == 200 else f"{answer.status} {text.strip()}"] += 1
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.02)


threads = [threading.Thread(target=keep_alive) for _ in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(seen))
