"""Long-lived daemons import the present files of `_utils`, although Python imports a file only once."""

from tests.integration.conftest import PATIENCE
from tests.support import wait_until


def test_jobs_of_a_minion_that_was_handed_out_others(call, changing):
    """Jobs are forks of a process that has imported the former files."""
    assert call("grains.get", "told") == call("told.number") == 1
    changing.say(2)
    call("saltutil.sync_all")
    wait_until(lambda: call("told.number") == 2, PATIENCE, "the minion to load its modules again")


def test_pillars_of_a_master_whose_tree_has_changed(call, changing):
    changing.say(3)
    for number in (4, 5):
        # Each worker has imported it by then.
        assert {told(call) for _ in range(10)} == {number - 1}
        changing.say(number)
    assert {told(call) for _ in range(10)} == {5}


def told(call):
    """Return the number in a pillar that the master compiles now. It is a key, because values are masked."""
    (number,) = call("pillar.items", pillar={"ask": True})["told"]
    return int(number)
