"""Which models are on offer, and who serves them."""

import pytest

from chatapp.kernel.config import Settings
from chatapp.kernel.errors import InvalidRequest
from chatapp.providers.base import ModelInfo
from chatapp.providers.registry import Providers
from tests.providers.scripted import ScriptedProvider


def offered(**settings):
    """What a site with these settings offers."""
    return Providers.from_settings(Settings(_env_file=None, **settings))


def test_without_a_key_there_is_the_demo_alone():
    providers = offered()

    assert [model.id for model in providers.models()] == ["demo"]
    assert providers.default_model == "demo"


@pytest.mark.parametrize("key", ["", "  \n"])
def test_a_blank_key_is_no_key(key):
    assert offered(gemini_api_key=key).default_model == "demo"


def test_with_a_key_there_is_gemini_and_no_demo():
    providers = offered(gemini_api_key="key")

    assert providers.for_model(providers.default_model).name == "gemini"
    with pytest.raises(InvalidRequest, match=r"^model"):
        providers.for_model("demo")


def test_a_default_model_newer_than_the_table_is_offered_first():
    providers = offered(gemini_api_key="key", default_model="gemini-9-flash")

    assert providers.models()[0].id == providers.default_model == "gemini-9-flash"
    assert providers.model("gemini-9-flash").max_output_tokens > 0


def test_a_default_model_may_be_written_as_googles_lists_write_it():
    providers = offered(
        gemini_api_key="key", default_model="models/gemini-2.5-pro", openai_base_url="http://127.0.0.1:9/v1"
    )

    assert providers.default_model == "gemini-2.5-pro"
    assert providers.for_model("gemini-2.5-pro").name == "gemini"


def test_a_default_model_from_the_table_is_offered_once():
    providers = offered(gemini_api_key="key", default_model="gemini-2.5-pro")

    assert [model.id for model in providers.models()].count("gemini-2.5-pro") == 1
    assert providers.default_model == "gemini-2.5-pro"


def test_a_default_model_that_nobody_serves_stops_the_start():
    with pytest.raises(ValueError, match="DEFAULT_MODEL"):
        offered(default_model="gemini-2.5-flash")


@pytest.mark.parametrize("model", ["unknown", "", None, ["list"]])
def test_an_unknown_model_is_refused_by_the_name_of_its_field(model):
    with pytest.raises(InvalidRequest, match=r"^model"):
        Providers([ScriptedProvider()]).for_model(model)


def test_of_two_providers_with_one_model_the_first_serves_it():
    mine, theirs = (ScriptedProvider(ModelInfo("same", label, 10, 10)) for label in ("mine", "theirs"))
    providers = Providers([mine, theirs])

    assert providers.for_model("same") is mine
    assert [model.label for model in providers.models()] == ["mine"]


def test_a_saved_choice_that_is_gone_falls_back_to_the_default():
    providers = offered(gemini_api_key="key")

    assert providers.offered("demo") == providers.offered(None) == providers.default_model
    assert providers.offered("gemini-2.5-pro") == "gemini-2.5-pro"


def test_gemini_and_a_compatible_server_are_offered_together():
    providers = offered(gemini_api_key="key", openai_base_url="http://localhost/v1", openai_models="qwen3:8b")

    assert providers.for_model(providers.default_model).name == "gemini"
    assert providers.for_model("qwen3:8b").name == "openai_compatible"
    assert "demo" not in [info.id for info in providers.models()]


@pytest.mark.parametrize(
    ("model", "served_by"), [("gemini-9-flash", "gemini"), ("gemini-2.5-pro", "gemini"), ("qwen9", "openai_compatible")]
)
def test_a_default_model_is_served_by_whom_its_name_says(model, served_by):
    providers = offered(gemini_api_key="key", openai_base_url="http://x/v1", default_model=model)

    assert providers.default_model == model
    assert providers.for_model(model).name == served_by
