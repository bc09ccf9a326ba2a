"""What the check makes of tests that failed once."""

import importlib.util

import pytest

from tests import servers

spec = importlib.util.spec_from_file_location("again", servers.ROOT / ".ci/again.py")
again = importlib.util.module_from_spec(spec)
spec.loader.exec_module(again)


@pytest.mark.parametrize(
    ("failed", "pass_now", "code"),
    [
        ("a", "a", 0),
        ("abc", "abc", 0),
        ("abcd", "abcd", 1),
        ("ab", "a", 1),
        ("abcdefghijk", "abcdefghijk", 1),
        ("", "", 1),
    ],
    ids=[
        "one is flaky",
        "three are",
        "four are too many",
        "one fails again",
        "too many failed",
        "something else broke",
    ],
)
def test_a_few_tests_that_pass_alone_do_not_fail_the_check(tmp_path, monkeypatch, capsys, failed, pass_now, code):
    (tmp_path / "failed").write_text("\n".join(failed))
    monkeypatch.setattr(again, "passes", lambda test: test in pass_now)

    assert again.main(str(tmp_path / "failed")) == code
    if len(failed) <= 10:
        assert capsys.readouterr().out.count("FLAKY") == len(pass_now)


def test_a_check_without_a_list_of_failed_tests_fails(tmp_path):
    assert again.main(str(tmp_path / "none")) == 1
