"""A client of JSON-RPC that asks on schedule: `python -m bench.steady ADDRESS PORT RATE SECONDS`, run where its network is.

Prints ``{"seconds": [how long each answer took], "heads": [[the heads, in order, for each connection]], "failed": [why]}``.
Each of its threads has one connection, and measures from the moment at which it sends.
"""

import http.client
import json
import sys
import threading
import time

THREADS = 16
BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []})
HEADERS = {"Content-Type": "application/json"}


def ask(address, port, every, begin, end, result):
    """Ask every so many seconds, from one moment to another; add to the result what came of it."""
    connection, due = http.client.HTTPConnection(address, port, timeout=10), begin
    while due < end:
        time.sleep(max(0, due - time.monotonic()))
        sent = time.monotonic()
        try:
            connection.request("POST", "/", BODY, HEADERS)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise ValueError(f"{answer.status} {text[:200]}")
            result["heads"].append(int(json.loads(text)["result"], 16))
            result["seconds"].append(time.monotonic() - sent)
        except (OSError, http.client.HTTPException, ValueError, LookupError) as exc:
            connection.close()
            result["failed"].append(repr(exc))
        due += every


def main(address, port, rate, seconds):
    """Ask, and print what came of it."""
    every, begin = THREADS / float(rate), time.monotonic() + 0.2
    results = [{"seconds": [], "heads": [], "failed": []} for _ in range(THREADS)]
    threads = []
    for number, result in enumerate(results):
        first = begin + number * every / THREADS
        arguments = (address, int(port), every, first, begin + float(seconds), result)
        threads.append(threading.Thread(target=ask, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = {key: [one for result in results for one in result[key]] for key in ("seconds", "failed")}
    print(json.dumps({**whole, "heads": [result["heads"] for result in results]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
