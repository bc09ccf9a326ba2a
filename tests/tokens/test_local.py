"""Exact counts on this machine, with a tiny SentencePiece model that is trained here."""

import hashlib
import io
from types import SimpleNamespace

import gevent
import pytest
import sentencepiece

from chatapp.kernel.config import ConfigurationError, load
from chatapp.providers.registry import Providers
from chatapp.tokens.cache import MemoryCache
from chatapp.tokens.count import Counter
from chatapp.tokens.local import INLINE_CHARACTERS, LocalTokenizer
from tests.providers.scripted import ScriptedProvider

TEXT = "The quick brown fox jumps over the lazy dog. Ein Fuchs springt über den Hund. 狐が犬を飛び越える。"
MODEL = "scripted"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model file that cuts any text: what it does not know into bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT] * 20), model_writer=model, vocab_size=330, byte_fallback=True,
        character_coverage=1.0, hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
    )  # fmt: skip
    file = tmp_path_factory.mktemp("tokenizer") / "tiny.model"
    file.write_bytes(model.getvalue())
    return file


@pytest.fixture
def tokenizer(trained):
    return LocalTokenizer(trained)


@pytest.fixture
def counter(demo, tokenizer):
    return Counter(Providers([demo]), MemoryCache(100), load(count_seconds=0.05), tokenizer)


def true_tokens(trained, text):
    return len(sentencepiece.SentencePieceProcessor(model_proto=trained.read_bytes()).encode(text))


def test_a_text_is_counted_as_the_library_cuts_it(counter, trained):
    count = counter.count(MODEL, TEXT)

    assert (count.tokens, count.method) == (true_tokens(trained, TEXT), "local")


def test_the_providers_count_goes_before_the_local_one(counter, demo):
    demo.count_rule = lambda text: 42

    assert (counter.count(MODEL, TEXT).tokens, counter.count(MODEL, TEXT).method) == (42, "api")


def test_a_local_tokenizer_that_breaks_or_is_late_leaves_it_to_the_estimate(counter, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "_count", lambda text: gevent.sleep(60))
    assert counter.count(MODEL, "late").method == "estimate"
    monkeypatch.setattr(tokenizer, "_count", lambda text: {}["broken"])
    assert counter.count(MODEL, "broken").method == "estimate"


def test_a_long_text_is_counted_beside_the_loop_and_a_short_one_is_not(tokenizer, trained):
    tokenizer.count(TEXT)
    assert tokenizer._threads is None

    long = TEXT * (INLINE_CHARACTERS // len(TEXT) + 1)

    assert tokenizer.count(long) == true_tokens(trained, long)
    assert tokenizer._threads is not None


def test_others_go_on_while_a_long_text_is_counted(tokenizer, monkeypatch):
    from time import sleep

    from gevent import monkey

    blocks = monkey.get_original("time", "sleep")
    monkeypatch.setattr(tokenizer, "_count", lambda text: blocks(0.3) or 1)
    ticks = []

    def tick():
        while True:
            sleep(0.01)
            ticks.append(1)

    ticking = gevent.spawn(tick)
    tokenizer.count("x" * (INLINE_CHARACTERS + 1))
    ticking.kill()

    assert len(ticks) > 5


@pytest.mark.parametrize("text", ["\ud800", "a\udfff" * 2000, "\0", "\U0010ffff" * 10, " \n\t", "ạ" * 3000])
def test_any_text_has_a_count(tokenizer, text):
    assert 0 < tokenizer.count(text) <= len(text.encode("utf-8", "replace"))


def test_counts_of_another_file_are_not_served(demo, tokenizer):
    cache = MemoryCache(100)
    other = SimpleNamespace(name="another", count=lambda text: 99)

    first = Counter(Providers([demo]), cache, load(), tokenizer).count(MODEL, TEXT)
    second = Counter(Providers([demo]), cache, load(), other).count(MODEL, TEXT)

    assert (first.is_cached, second.is_cached, second.tokens) == (False, False, 99)


def create_with(**settings):
    from chatapp import create_app

    return create_app(Providers([ScriptedProvider()]), secret_key="x" * 32, **settings)


def test_the_settings_bring_it_in(sqlite_url, tmp_path, trained):
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    place = {"database_url": sqlite_url, "instance_dir": tmp_path / "instance"}
    app = create_with(**place, tokenizer_file=trained, tokenizer_sha256=digest.upper())

    with app.app_context():
        assert app.extensions["counter"].count(MODEL, TEXT).method == "local"


@pytest.mark.parametrize(
    ("content", "sha256", "says"),
    [
        (None, None, r"TOKENIZER_FILE: .*own\.model: No such file"),
        (b"", None, r"TOKENIZER_FILE: .*own\.model is no SentencePiece model"),
        (b"not a model", None, r"TOKENIZER_FILE: .*own\.model is no SentencePiece model"),
        (b"not a model", "0" * 64, r"TOKENIZER_SHA256: .*own\.model has the SHA-256 [0-9a-f]{64}, not"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start_and_names_itself(sqlite_url, tmp_path, content, sha256, says):
    file = tmp_path / "own.model"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=says):
        create_with(database_url=sqlite_url, instance_dir=tmp_path / "i", tokenizer_file=file, tokenizer_sha256=sha256)


def test_without_the_library_the_start_says_how_to_get_it(trained, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)

    with pytest.raises(ValueError, match=r"pip install '\.\[tokenizer\]'"):
        LocalTokenizer(trained)
