#!/usr/bin/env python3
"""Anvil chain sync: make several anvils one chain, for a lab whose RPC nodes have no network of their own.

Usage: anvil_chain.py PERIOD OWN_URL URL...   (seconds between two blocks; all nodes, in the same order everywhere)

A block of anvil is determined by its parent, time, base fee and transactions. So each node repeats the blocks of the best node
and compares the hashes. The first node in the list with the best head mines one block for each PERIOD of the clock, if it
reaches the majority of the nodes. All other nodes send it their transactions. A node that has diverged rolls back.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

TIMEOUT = 1  # seconds, for one call
ROLL_BACK = 50  # blocks; anvil keeps the states of the last 64 (--prune-history)
TOO_FAR = 75  # exit code: only an empty anvil can follow the others again


class Node:
    """A JSON-RPC endpoint, over one persistent connection."""

    def __init__(self, url):
        self.http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)
        self.tip = None

    def call(self, method, *params):
        """Return the result of a call; raises OSError if the node is not reachable, ValueError if it refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        try:
            self.http.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.load(self.http.getresponse())
        except (http.client.HTTPException, OSError) as exc:
            self.http.close()
            raise OSError(f"{method}: {exc!r}") from exc
        if "error" in answer:
            raise ValueError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def block(self, number):
        """Return {number, hash, time, fee, transactions} of a block."""
        found = self.call("eth_getBlockByNumber", number if isinstance(number, str) else hex(number), False)
        return {
            "number": int(found["number"], 16),
            "hash": found["hash"],
            "time": int(found["timestamp"], 16),
            "fee": found["baseFeePerGas"],
            "transactions": found["transactions"],
        }

    def look(self):
        """Store and return the newest block; None if the node is not reachable."""
        try:
            self.tip = self.block("latest")
        except OSError:
            self.tip = None
        return self.tip

    def give(self, transactions, other):
        """Send transactions, by hash, to another node. Known and invalid transactions are skipped."""
        for transaction in transactions:
            try:
                other.call("eth_sendRawTransaction", self.call("eth_getRawTransactionByHash", transaction))
            except ValueError:
                pass

    def pending(self):
        """Return the hashes of the pending transactions."""
        pool = self.call("txpool_content")
        return [t["hash"] for part in pool.values() for account in part.values() for t in account.values()]

    def mine(self, moment, fee=None):
        """Mine a block of all pending transactions, and return it."""
        if fee:
            self.call("anvil_setNextBlockBaseFeePerGas", fee)
        self.call("evm_setNextBlockTimestamp", moment)
        self.call("evm_mine")
        return self.block("latest")


def follow(own, best):
    """Repeat the blocks of *best*, after a rollback to the last common block."""
    common = min(own.tip["number"], best.tip["number"])
    while own.block(common)["hash"] != best.block(common)["hash"]:
        common -= 1
    depth = own.tip["number"] - common
    if depth > ROLL_BACK:
        sys.stderr.write(f"diverged from the other nodes for {depth} blocks: this node must restart empty\n")
        sys.exit(TOO_FAR)
    lost = [t for n in range(common + 1, own.tip["number"] + 1) for t in own.block(n)["transactions"]]
    own.give(lost + own.pending(), best)
    if depth:
        own.call("anvil_rollback", depth)
    for number in range(common + 1, best.tip["number"] + 1):
        wanted = best.block(number)
        own.call("anvil_dropAllTransactions")
        best.give(wanted["transactions"], own)
        if own.mine(wanted["time"], wanted["fee"])["hash"] != wanted["hash"]:
            return  # a client's transaction was included: the next step rolls back and forwards it


def step(own, nodes, period):
    """Poll all nodes, then follow, mine, or forward the pending transactions."""
    reachable = [node for node in nodes if node.look()]
    if own not in reachable:
        return
    best = max(reachable, key=lambda node: node.tip["number"])  # the first one if several are equal
    slot = int(time.time()) // period * period
    if own.tip["hash"] != best.tip["hash"]:
        follow(own, best)
    elif own is not best:
        own.give(own.pending(), best)
    elif len(reachable) * 2 > len(nodes) and slot > own.tip["time"]:
        own.mine(slot)


def main():
    """Run a few steps in each period, the first one right after it begins."""
    period, own_url, urls = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    nodes = [Node(url) for url in urls]
    own = nodes[urls.index(own_url)]
    while True:
        try:
            step(own, nodes, period)
        except (OSError, ValueError) as exc:
            sys.stderr.write(f"{exc}\n")
        time.sleep(min(0.5, period - time.time() % period + 0.01))


if __name__ == "__main__":
    main()
