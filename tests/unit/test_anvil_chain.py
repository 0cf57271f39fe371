"""The lab's three anvils stay one chain, whoever is late, gone or astray."""

import hashlib
import itertools

import pytest

from tests.support import program

PERIOD = 2


chain = program("salt/rpc/files/anvil_chain.py")


class Anvil(chain.Node):
    """As much of an anvil as the program asks of one."""

    def __init__(self):
        self.alive, self.blocks, self.pool, self.moment = True, [], [], None
        self.append(0)

    def append(self, moment):
        number = len(self.blocks)
        parent = self.blocks[-1]["hash"] if self.blocks else ""
        content = repr((number, parent, moment, self.pool))
        self.blocks.append(
            {
                "number": hex(number),
                "hash": hashlib.sha256(content.encode()).hexdigest(),
                "timestamp": hex(moment),
                "baseFeePerGas": "0x1",
                "transactions": self.pool,
            }
        )
        self.pool = []

    def call(self, method, *params):
        if not self.alive:
            raise OSError("gone")
        return getattr(self, method)(*params)

    def eth_getBlockByNumber(self, number, full):
        return self.blocks[-1 if number == "latest" else int(number, 16)]

    def eth_getRawTransactionByHash(self, transaction):
        return transaction

    def eth_sendRawTransaction(self, transaction):
        mined = itertools.chain.from_iterable(block["transactions"] for block in self.blocks)
        if transaction in [*mined, *self.pool]:
            raise ValueError("already known")
        self.pool.append(transaction)

    def txpool_content(self):
        return {"pending": {"0x1": {str(n): {"hash": t} for n, t in enumerate(self.pool)}}, "queued": {}}

    def anvil_dropAllTransactions(self):
        self.pool = []

    def anvil_setNextBlockBaseFeePerGas(self, fee):
        pass

    def anvil_rollback(self, depth):
        del self.blocks[-depth:]

    def evm_setNextBlockTimestamp(self, moment):
        self.moment = moment

    def evm_mine(self):
        self.append(self.moment)


@pytest.fixture
def nodes():
    return [Anvil() for _ in range(3)]


@pytest.fixture
def tick(nodes, monkeypatch):
    """Return a function that lets a period begin and every program step as often as is asked."""
    clock = itertools.count(1_000_000, PERIOD)

    def step(rounds=2, only=None):
        now = next(clock)
        monkeypatch.setattr(chain.time, "time", lambda: now)
        for _ in range(rounds):
            for node in only or nodes:
                chain.step(node, nodes, PERIOD)

    return step


def heights(nodes):
    return [len(node.blocks) - 1 for node in nodes]


def one_chain(nodes):
    return len({node.blocks[-1]["hash"] for node in nodes}) == 1


def test_one_block_a_period_the_same_everywhere(nodes, tick):
    for _ in range(5):
        tick(rounds=4)
    assert heights(nodes) == [5, 5, 5]
    assert one_chain(nodes)


def test_a_transaction_sent_to_any_node_is_mined_on_all(nodes, tick):
    for number, node in enumerate(nodes):
        node.pool.append(f"t{number}")
    tick()
    tick()
    assert sorted(t for block in nodes[1].blocks for t in block["transactions"]) == ["t0", "t1", "t2"]
    assert one_chain(nodes)


def test_the_next_one_mines_when_the_first_is_gone(nodes, tick):
    tick()
    nodes[0].alive = False
    tick()
    tick()
    assert heights(nodes) == [1, 3, 3]


def test_a_node_that_returns_empty_follows_before_it_mines(nodes, tick):
    for _ in range(4):
        tick()
    nodes[0].blocks = nodes[0].blocks[:1]
    tick()
    tick()
    assert heights(nodes) == [6, 6, 6]
    assert one_chain(nodes)


def test_without_most_of_the_nodes_the_chain_halts(nodes, tick):
    tick()
    nodes[1].alive = nodes[2].alive = False
    tick()
    assert heights(nodes) == [1, 1, 1]


def test_a_node_astray_rolls_back_and_its_transactions_are_not_lost(nodes, tick):
    tick()
    nodes[2].pool.append("astray")
    nodes[2].append(1)
    tick(only=nodes[:2])
    tick(only=nodes[:2])
    tick()
    tick()
    assert one_chain(nodes)
    assert "astray" in [t for block in nodes[0].blocks for t in block["transactions"]]


def test_a_node_too_far_astray_asks_for_an_empty_start(nodes, tick):
    for moment in range(chain.ROLL_BACK + 2):
        nodes[2].append(moment)
        nodes[0].append(moment + 1)
        nodes[1].append(moment + 1)
    with pytest.raises(SystemExit) as exited:
        tick()
    assert exited.value.code == chain.TOO_FAR
