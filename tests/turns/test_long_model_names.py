"""A model may be named by the path of its file: it is kept, chosen and answers, on both databases."""

import pytest

from chatapp.kernel.config import ConfigurationError
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS
from chatapp.providers.base import ModelInfo
from chatapp.providers.openai import declared_models
from tests.turns.test_turns import settled_once

LONG = "/srv/models/" + "a-folder-of-weights/" * 5 + "model.gguf"


@pytest.mark.parametrize("name", [LONG, "/" + "m" * (MODEL_NAME_CHARS - 1)])
def test_a_model_with_a_long_name_answers_and_is_kept(both_app, both_api, demo, monkeypatch, name):
    monkeypatch.setattr(demo, "models", lambda: (ModelInfo(name, name, 8192, 8192),))
    chat = both_api.new_chat(model=name)

    assert both_api.send(chat, "Hi").text == "Hello."

    assert both_api.call("GET", f"/chat/{chat}").get_json()["model"] == name
    settled_once(both_app)


def test_every_column_of_a_models_name_is_as_wide(app):
    with app.app_context():
        columns = [c for table in db.metadata.tables.values() for c in table.columns if c.name.endswith("model")]
    assert {column.type.length for column in columns} == {MODEL_NAME_CHARS}


@pytest.mark.parametrize(
    ("name", "value"),
    [("openai_models", "m" * (MODEL_NAME_CHARS + 1)), ("default_model", "m" * 256), ("title_chars", 201)],
)
def test_a_setting_that_the_tables_have_no_room_for_names_itself(tmp_path, name, value):
    from chatapp import create_app

    with pytest.raises(ConfigurationError, match=name.upper()):
        create_app(instance_dir=tmp_path, secret_key="x" * 32, openai_base_url="http://x/v1", **{name: value})


def test_a_path_is_shown_by_its_last_part_and_other_names_as_they_are():
    shown = {info.id: info.label for info in declared_models(f"{LONG},org/name:tag@q4,a=b=4096")}
    assert shown == {LONG: "model.gguf", "org/name:tag@q4": "org/name:tag@q4", "a=b": "a=b"}
