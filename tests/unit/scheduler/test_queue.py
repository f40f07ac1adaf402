"""The queue: priority, then age; back-off; the parked wait for the world to change."""

from moorings_core.ports.objects import Key
from moorings_core.scheduler.queue import FLUSH_AFTER, SchedulingQueue

from .objects import pod


def put(queue, name, now, priority=0):
    queue.put(Key("d", name), pod(name, priority=priority), now)


def names(queue, now):
    found = []
    while (waiting := queue.pop(now)) is not None:
        found.append(waiting.key.name)
    return found


def test_higher_priority_first_then_older_first():
    queue = SchedulingQueue()
    put(queue, "old", 1)
    put(queue, "young", 2)
    put(queue, "urgent", 3, priority=10)
    assert names(queue, 4) == ["urgent", "old", "young"]


def test_the_unschedulable_wait_until_the_world_changes_and_back_off_twice_as_long_each_time():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    now, delays = 0.0, []
    for _ in range(6):
        waiting = queue.pop(now)
        queue.unschedulable(waiting, now)
        assert queue.next_time(now) is None
        queue.wake_all(now)
        delays.append(queue.next_time(now))
        assert queue.pop(now) is None
        now += delays[-1]
    assert delays == [1, 2, 4, 8, 10, 10]


def test_who_has_waited_its_back_off_already_is_tried_at_once():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    queue.unschedulable(queue.pop(0), 0)
    queue.wake_all(5)
    assert queue.next_time(5) == 0


def test_a_changed_pod_is_tried_again():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    queue.unschedulable(queue.pop(0), 0)
    put(queue, "a", 3)
    assert names(queue, 3) == ["a"]


def test_a_dropped_pod_is_never_popped_and_its_decision_leaves_nothing_behind():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    put(queue, "b", 0)
    taken = queue.pop(0)
    for name in "ab":
        queue.drop(Key("d", name))
    queue.unschedulable(taken, 0)
    queue.wake_all(100)
    assert names(queue, 100) == []
    assert len(queue) == 0


def test_the_flush_wakes_those_that_no_event_woke():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    queue.unschedulable(queue.pop(0), 0)
    assert queue.flush(FLUSH_AFTER - 1) == 0
    assert queue.flush(FLUSH_AFTER) == 1
    assert names(queue, FLUSH_AFTER) == ["a"]


def test_a_change_while_a_pod_is_decided_on_is_not_lost_to_it():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    put(queue, "b", 0)
    first, second = queue.pop(0), queue.pop(0)
    queue.wake_all(0)
    put(queue, "b", 0)
    queue.unschedulable(first, 0)
    queue.unschedulable(second, 0)
    assert queue.next_time(0) == 1
    assert sorted(names(queue, 1)) == ["a", "b"]


def test_the_held_are_tried_when_they_are_released_and_not_when_other_things_change():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    queue.hold(queue.pop(0), 0)
    queue.wake_all(1)
    assert queue.pop(1) is None
    assert queue.next_time(1) is None
    queue.release(Key("d", "a"))
    assert queue.pop(1).attempts == 1, "nothing has failed: no back-off grows"
    queue.release(Key("d", "unknown"))
    assert queue.pop(1) is None, "one that is being decided on is not released"


def test_the_held_are_not_forgotten():
    queue = SchedulingQueue()
    put(queue, "a", 0)
    queue.hold(queue.pop(0), 0)
    assert queue.flush(FLUSH_AFTER) == 1
    assert names(queue, FLUSH_AFTER) == ["a"]
