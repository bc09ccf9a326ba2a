"""the index of the search: pages of runs of characters, alike on both databases

Here only tables, triggers and one row a chat are made. The texts come into the index while the product serves
(chatapp/chats/indexing.py). Whoever copies chats or messages (batch_alter_table) on SQLite loses their triggers.
"""

import importlib.util
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# What is written waits; a request to go on with an answer is nobody's words.
MESSAGE_ADDED = "NEW.status <> 'in_progress' AND NOT NEW.continues"
MESSAGE_CHANGED = f"{MESSAGE_ADDED} AND (OLD.status = 'in_progress' OR OLD.content <> NEW.content)"
TITLE_ADDED = "NEW.title IS NOT NULL"
TITLE_CHANGED = f"{TITLE_ADDED} AND (OLD.title IS NULL OR OLD.title <> NEW.title)"
MESSAGE_WAITS = """INSERT INTO search_pending (user_id, subject_id, chars)
    SELECT user_id, NEW.id, length(NEW.content) FROM chats WHERE id = NEW.chat_id"""
TITLE_WAITS = "INSERT INTO search_pending (user_id, subject_id, chars) VALUES (NEW.user_id, NEW.id, length(NEW.title))"
TRIGGERS = (
    ("search_message_added", "INSERT ON messages", MESSAGE_ADDED, MESSAGE_WAITS),
    ("search_message_changed", "UPDATE OF content, status ON messages", MESSAGE_CHANGED, MESSAGE_WAITS),
    ("search_title_added", "INSERT ON chats", TITLE_ADDED, TITLE_WAITS),
    ("search_title_changed", "UPDATE OF title ON chats", TITLE_CHANGED, TITLE_WAITS),
)


def upgrade() -> None:
    _of_0002().downgrade()
    _make_tables()
    run = op.get_bind().exec_driver_sql
    for name, event, when, action in TRIGGERS:
        if _is_sqlite():
            run(f"CREATE TRIGGER {name} AFTER {event} WHEN {when} BEGIN {action}; END")
        else:
            run(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN {action}; RETURN NULL; END $$"
            )
            run(f"CREATE TRIGGER {name} AFTER {event} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()")
    if not _is_sqlite():
        # Signatures are as good as random: to compress them costs, and bytes of a compressed one cannot be read alone.
        run("ALTER TABLE search_pages ALTER COLUMN signature SET STORAGE EXTERNAL")
    run("INSERT INTO search_backlog (user_id, chat_id) SELECT user_id, id FROM chats ORDER BY updated_at")


def _make_tables() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "search_pages",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("subjects", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "search_pending",
        sa.Column("id", big, primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("chars", sa.Integer(), nullable=False),
    )
    op.create_index("ix_search_pending_user_id", "search_pending", ["user_id"])
    op.create_table(
        "search_backlog",
        sa.Column("id", big, primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("chat_id", sa.Uuid(), nullable=False),
        sa.Column("after_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("after_id", sa.Uuid(), nullable=True),
    )
    op.create_index("ix_search_backlog_user_id", "search_backlog", ["user_id"])


def downgrade() -> None:
    run = op.get_bind().exec_driver_sql
    for name, event, _when, _action in TRIGGERS:
        run(f"DROP TRIGGER {name}" + ("" if _is_sqlite() else f" ON {event.split()[-1]}"))
        if not _is_sqlite():
            run(f"DROP FUNCTION {name}()")
    for table in ("search_backlog", "search_pending", "search_pages"):
        op.drop_table(table)
    _of_0002().upgrade()


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _of_0002():
    """Return the migration that made the index of before, and can take it away."""
    spec = importlib.util.spec_from_file_location("search_0002", Path(__file__).with_name("0002_search.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
