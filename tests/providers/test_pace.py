"""Reading together: who waits, for how long, and that nobody waits alone."""

import gevent
import pytest

from chatapp.providers.pace import FEW_STREAMS, Pace


@pytest.mark.parametrize(
    ("streams", "seconds"), [(1, 0), (FEW_STREAMS - 1, 0), (40, 0.05), (100, 0.125), (200, 0.25), (5000, 0.25)]
)
def test_the_more_streams_are_read_the_longer_each_waits(streams, seconds):
    pace = Pace()
    pace.streams = streams

    assert pace.seconds == seconds


def test_all_who_wait_are_woken_by_one_beat():
    slept = []
    pace = Pace(sleep=lambda seconds: slept.append(seconds) or gevent.sleep(0))
    pace.streams = 60
    waiting = [gevent.spawn(pace.wait) for _ in range(60)]

    gevent.joinall(waiting, raise_error=True, timeout=30)
    assert all(greenlet.ready() for greenlet in waiting)
    assert slept == [0.075]


def test_a_stream_is_counted_while_it_is_read_however_it_ends():
    pace = Pace()

    def read():
        with pace.stream():
            assert pace.streams == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        read()
    assert pace.streams == 0


def test_many_answers_are_read_to_the_letter_at_a_beat(server, make_gemini, ask, text_of):
    from tests.scripted_gemini import says

    words = [f"word {number}, " for number in range(40)]
    server.script(says(*words, pace_seconds=0.005, times=40))
    gemini = make_gemini()
    readers = [gevent.spawn(lambda: text_of(gemini.stream(ask()))) for _ in range(40)]

    gevent.joinall(readers, raise_error=True)
    assert {reader.value for reader in readers} == {"".join(words)}
