"""an index of the words in titles and messages

SQLite: an FTS5 index without a copy of the texts, kept by triggers. The rowid of a table whose key is no integer changes
with VACUUM, so search_entries gives each text a number that stays. Each text is indexed together with its user: the index
intersects the two, and the words of others cost a search nothing.

PostgreSQL: a generated column and a GIN index. A tsvector holds at most 1 MB, hence the beginning of very long texts only.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FORGET = """
    INSERT INTO search_index (search_index, rowid, owner, text)
        SELECT 'delete', id, user_id, coalesce({text}, '') FROM search_entries WHERE subject_id = old.id;
    DELETE FROM search_entries WHERE subject_id = old.id;
"""
LEARN = """
    INSERT INTO search_entries (subject_id, chat_id, user_id) {source};
    INSERT INTO search_index (rowid, owner, text)
        SELECT id, user_id, coalesce({text}, '') FROM search_entries WHERE subject_id = new.id;
"""
OF_TITLE = {"text": "{row}.title", "source": "VALUES (new.id, new.id, new.user_id)"}
OF_MESSAGE = {
    "text": "{row}.content",
    "source": "SELECT new.id, new.chat_id, user_id FROM chats WHERE id = new.chat_id",
}
HAS_ENDED = "{row}.status <> 'in_progress'"

SQLITE = [
    """CREATE TABLE search_entries (
        id INTEGER PRIMARY KEY, subject_id CHAR(32) NOT NULL UNIQUE, chat_id CHAR(32) NOT NULL, user_id CHAR(32) NOT NULL
    )""",
    """CREATE VIRTUAL TABLE search_index
        USING fts5(owner, text, content='', tokenize='unicode61 remove_diacritics 2', prefix='2 3')""",
    "INSERT INTO search_entries (subject_id, chat_id, user_id) SELECT id, id, user_id FROM chats ORDER BY created_at",
    """INSERT INTO search_entries (subject_id, chat_id, user_id)
        SELECT messages.id, chat_id, user_id FROM messages JOIN chats ON chats.id = chat_id
        WHERE status <> 'in_progress' ORDER BY messages.created_at""",
    """INSERT INTO search_index (rowid, owner, text)
        SELECT entry.id, entry.user_id, coalesce(content, title, '') FROM search_entries AS entry
        LEFT JOIN messages ON messages.id = subject_id LEFT JOIN chats ON chats.id = subject_id""",
]


def _trigger(name: str, event: str, *, when: str = "", forget: str = "", learn: str = "") -> str:
    return f"CREATE TRIGGER {name} AFTER {event} {f'WHEN {when}' if when else ''} BEGIN {forget}{learn} END"


def _forget(of: dict[str, str]) -> str:
    return FORGET.format(text=of["text"].format(row="old"))


def _learn(of: dict[str, str]) -> str:
    return LEARN.format(text=of["text"].format(row="new"), source=of["source"])


def _sqlite_triggers() -> list[str]:
    old_ended, new_ended = HAS_ENDED.format(row="old"), HAS_ENDED.format(row="new")
    return [
        _trigger("search_chat_added", "INSERT ON chats", learn=_learn(OF_TITLE)),
        _trigger(
            "search_chat_renamed",
            "UPDATE OF title ON chats",
            when="old.title IS NOT new.title",
            forget=_forget(OF_TITLE),
            learn=_learn(OF_TITLE),
        ),
        _trigger("search_chat_removed", "DELETE ON chats", forget=_forget(OF_TITLE)),
        _trigger("search_message_added", "INSERT ON messages", when=new_ended, learn=_learn(OF_MESSAGE)),
        # The checkpoints of an answer in progress pass both by.
        _trigger(
            "search_message_left", "UPDATE OF content, status ON messages", when=old_ended, forget=_forget(OF_MESSAGE)
        ),
        _trigger("search_message_ended", "UPDATE OF content, status ON messages", when=new_ended, learn=_learn(OF_MESSAGE)),
        _trigger("search_message_removed", "DELETE ON messages", when=old_ended, forget=_forget(OF_MESSAGE)),
    ]


POSTGRESQL = [
    # Small letters without their marks, as SQLite's index has them. Kept in one place, for columns and queries alike.
    """CREATE FUNCTION search_words(body text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT to_tsvector('simple', regexp_replace(normalize(left(body, 100000), NFD), '[\u0300-\u036f]', '', 'g'))
    $$""",
    "ALTER TABLE chats ADD COLUMN search tsvector GENERATED ALWAYS AS (search_words(coalesce(title, ''))) STORED",
    """ALTER TABLE messages ADD COLUMN search tsvector
        GENERATED ALWAYS AS (CASE WHEN status <> 'in_progress' THEN search_words(content) END) STORED""",
    "CREATE INDEX ix_chats_search ON chats USING gin (search)",
    "CREATE INDEX ix_messages_search ON messages USING gin (search)",
]


def upgrade() -> None:
    statements = SQLITE + _sqlite_triggers() if op.get_bind().dialect.name == "sqlite" else POSTGRESQL
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("chat_added", "chat_renamed", "chat_removed"):
            op.get_bind().exec_driver_sql(f"DROP TRIGGER search_{name}")
        for name in ("message_added", "message_left", "message_ended", "message_removed"):
            op.get_bind().exec_driver_sql(f"DROP TRIGGER search_{name}")
        op.get_bind().exec_driver_sql("DROP TABLE search_index")
        op.get_bind().exec_driver_sql("DROP TABLE search_entries")
        return
    op.drop_index("ix_messages_search", "messages")
    op.drop_index("ix_chats_search", "chats")
    op.drop_column("messages", "search")
    op.drop_column("chats", "search")
    op.get_bind().exec_driver_sql("DROP FUNCTION search_words(text)")
