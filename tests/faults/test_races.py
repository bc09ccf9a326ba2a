"""Equal sends that race for one turn, in one process and over two, on both databases."""

import gevent
import pytest

from tests.conftest import make_user
from tests.faults import invariants
from tests.streams import Api, until


# Too much for the quick suite.
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_of_eight_equal_racing_sends_one_is_a_turn_and_all_answer_the_same(make_app, database, demo, processes):
    apps = [make_app(database) for _ in range(processes)]
    person = make_user(apps[0], "ada@example.org")
    apis = [Api(app, person) for app in apps]
    for round_ in range(3):
        chat = apis[0].new_chat()
        demo.will_say("only", demo.hold(), " once")
        sends = [gevent.spawn(apis[at % processes].send, chat, "Hi", key="k1") for at in range(8)]
        until(lambda round_=round_: len(demo.requests) == round_ + 1)
        demo.release()
        heard = [send.get(timeout=20) for send in sends]

        assert {(one.status, one.text) for one in heard} == {(200, "only once")}
        assert len({str(one.final) for one in heard}) == 1
        assert len(demo.requests) == round_ + 1
        assert len(apis[-1].messages(chat)) == 2
    invariants.hold(database)
