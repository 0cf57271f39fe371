#!/usr/bin/env python3
"""Make several anvils one chain: for laboratories, where the RPC nodes have no network of their own.

Usage: anvil_chain.py PERIOD OWN_URL URL...   (seconds between two blocks; all nodes, in the same order everywhere)

A block of anvil follows from its parent, its time, its base fee and its transactions. So each node repeats the blocks of
the best node and compares the hashes. The first of those that are level with the best mines one block for each PERIOD of
the clock, if it sees most of the nodes; all others hand it their transactions. A node that went another way rolls back.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

TIMEOUT = 1  # seconds, for one call
ROLL_BACK = 50  # blocks; anvil keeps the states of the last 64 (--prune-history)
TOO_FAR = 75  # exit code: only an empty anvil can follow again


class Node:
    """A JSON-RPC endpoint over one connection that is kept."""

    def __init__(self, url):
        self.http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)
        self.tip = None

    def call(self, method, *params):
        """Return the result of a call; raises OSError where the node cannot be reached, ValueError where it refuses."""
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
        """Note the newest block; None where the node cannot be reached."""
        try:
            self.tip = self.block("latest")
        except OSError:
            self.tip = None
        return self.tip

    def give(self, transactions, other):
        """Send transactions, by hash, to another node. One that is known there, or no longer valid, is no loss."""
        for transaction in transactions:
            try:
                other.call("eth_sendRawTransaction", self.call("eth_getRawTransactionByHash", transaction))
            except ValueError:
                pass

    def pending(self):
        """Return the hashes of the transactions that wait here."""
        pool = self.call("txpool_content")
        return [t["hash"] for part in pool.values() for account in part.values() for t in account.values()]

    def mine(self, moment, fee=None):
        """Mine a block of everything that waits, and return it."""
        if fee:
            self.call("anvil_setNextBlockBaseFeePerGas", fee)
        self.call("evm_setNextBlockTimestamp", moment)
        self.call("evm_mine")
        return self.block("latest")


def follow(own, best):
    """Repeat the blocks of *best*, after rolling back to the last one both have."""
    common = min(own.tip["number"], best.tip["number"])
    while own.block(common)["hash"] != best.block(common)["hash"]:
        common -= 1
    depth = own.tip["number"] - common
    if depth > ROLL_BACK:
        sys.stderr.write(f"{depth} blocks away from the others: this node must start from nothing\n")
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
            return  # a client's transaction slipped in: the next step rolls back and hands it on


def step(own, nodes, period):
    """Look at all nodes, then follow, mine or hand on what waits here."""
    reachable = [node for node in nodes if node.look()]
    if own not in reachable:
        return
    best = max(reachable, key=lambda node: node.tip["number"])  # the first of several
    slot = int(time.time()) // period * period
    if own.tip["hash"] != best.tip["hash"]:
        follow(own, best)
    elif own is not best:
        own.give(own.pending(), best)
    elif len(reachable) * 2 > len(nodes) and slot > own.tip["time"]:
        own.mine(slot)


def main():
    """Step a few times per period, and right after each begins."""
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
