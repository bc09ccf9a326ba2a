"""indexes for what is looked for again and again, and room for long names of models"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAMES = (("users", "default_model"), ("chats", "model"), ("messages", "model"), ("turns", "model"))
MORE_NAMES = (("title_turns", "model"), ("usage_records", "model"))
OPEN_TURNS = sa.text("status = 'in_progress'")
OPEN_TITLES = sa.text("ended_at IS NULL")
DELETED = sa.text("deleted_at IS NOT NULL")


def _widen(length):
    # SQLite holds to no length, and would copy the whole table for it.
    if op.get_bind().dialect.name != "sqlite":
        for table, column in (*NAMES, *MORE_NAMES):
            op.alter_column(table, column, type_=sa.String(length))


def upgrade() -> None:
    _widen(255)
    op.create_index("ix_messages_chat_id_created_at_id", "messages", ["chat_id", "created_at", "id"])
    op.drop_index("ix_messages_chat_id", "messages")
    op.create_index("ix_turns_question_id", "turns", ["question_id"])
    op.create_index("ix_turns_user_open", "turns", ["user_id"], sqlite_where=OPEN_TURNS, postgresql_where=OPEN_TURNS)
    op.create_index(
        "ix_title_turns_open", "title_turns", ["started_at"], sqlite_where=OPEN_TITLES, postgresql_where=OPEN_TITLES
    )
    op.create_index("ix_chats_deleted", "chats", ["deleted_at"], sqlite_where=DELETED, postgresql_where=DELETED)
    op.create_index("ix_users_deleted", "users", ["deleted_at"], sqlite_where=DELETED, postgresql_where=DELETED)


def downgrade() -> None:
    op.drop_index("ix_users_deleted", "users")
    op.drop_index("ix_chats_deleted", "chats")
    op.drop_index("ix_title_turns_open", "title_turns")
    op.drop_index("ix_turns_user_open", "turns")
    op.drop_index("ix_turns_question_id", "turns")
    op.create_index("ix_messages_chat_id", "messages", ["chat_id"])
    op.drop_index("ix_messages_chat_id_created_at_id", "messages")
    _widen(100)
