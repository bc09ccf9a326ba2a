"""LOOP_ALARM_MS: what holds the loop is named, and nothing else is."""

import time

import gevent
import pytest

from chatapp.kernel.server.loop_alarm import LoopAlarm
from tests.streams import until


def compute(ms: int) -> None:
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        pass


@pytest.fixture
def said():
    found = []
    alarm = LoopAlarm(30, lambda ms, stack: found.append((ms, stack)))
    alarm.start()
    yield found
    alarm.stop()


def test_a_greenlet_that_computes_for_long_is_named_once_with_its_stack(said):
    gevent.spawn(compute, 300).join()

    until(lambda: said)
    ((ms, stack),) = said
    assert ms >= 30
    assert "in compute" in stack


def test_greenlets_that_give_way_and_those_that_wait_are_not(said):
    def works_in_steps():
        for _ in range(40):
            compute(2)
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(works_in_steps), gevent.spawn(gevent.sleep, 0.2)])

    assert said == []
