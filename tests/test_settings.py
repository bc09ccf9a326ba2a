"""A wrong setting names itself, says what would be right, and tells no password."""

import os
from multiprocessing.pool import ThreadPool

import pytest

from chatapp.kernel import config
from chatapp.kernel.config import ConfigurationError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "https://chat.example.org:https"),
        ("gemini_base_url", "127.0.0.1:8080"),
        ("openai_base_url", "http:///v1"),
        ("database_url", "postgresql://ada:hunter2@127.0.0.1:port/chat"),
        ("database_url", "mysql://ada:hunter2@127.0.0.1/chat"),
        ("redis_url", "redis://:hunter2@127.0.0.1:port/0"),
        ("redis_url", "redis://:hunter2@127.0.0.1/first"),
    ],
)
def test_a_wrong_address_names_its_setting_and_shows_a_right_one(tmp_path, name, value):
    with pytest.raises(ConfigurationError, match=rf"^{name.upper()}: must look like [^ ]+://") as refused:
        config.load(instance_dir=tmp_path, **{name: value})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgres://ada:p%40ss@127.0.0.1:5432/chat"),
        ("database_url", "postgresql:///chat?host=/var/run/postgresql"),
        ("database_url", "sqlite:////srv/chat.db"),
        ("redis_url", "redis://127.0.0.1"),
        ("redis_url", "rediss://:secret@cache.example.org:6380/1"),
        ("redis_url", "unix:///run/redis.sock?db=1"),
    ],
)
def test_an_address_of_each_kind_is_taken(tmp_path, name, value):
    assert getattr(config.load(instance_dir=tmp_path, **{name: value}), name)


def test_a_budget_beyond_what_a_database_holds_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"^TOKEN_LIMIT: .*1000000000000000"):
        config.load(instance_dir=tmp_path, token_limit=10**20)


def test_an_instance_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"^INSTANCE_DIR: .*/file/instance: Not a directory"):
        config.load(instance_dir=tmp_path / "file" / "instance")


def test_a_key_that_cannot_be_written_names_the_folder(tmp_path):
    (tmp_path / "secret_key").mkdir()

    with pytest.raises(ConfigurationError, match=r"^INSTANCE_DIR: .*/secret_key: Is a directory"):
        config.secret_key(config.load(instance_dir=tmp_path))


def test_processes_that_start_together_sign_with_one_key(tmp_path):
    # As it is when one of them was held up, or ended, before it wrote.
    (tmp_path / "secret_key").touch(0o600)
    settings = config.load(instance_dir=tmp_path)

    with ThreadPool(4) as pool:
        keys = pool.map(config.secret_key, [settings] * 4)

    assert len(set(keys)) == 1
    assert len(keys[0]) >= config.SECRET_BYTES
    assert os.stat(tmp_path / "secret_key").st_mode & 0o777 == 0o600
