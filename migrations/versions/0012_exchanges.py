"""exchanges: one table for every call to a model (1 of 3: the tables)

Three steps, so that one that is cut off goes on where it was: the tables are made, filled, and what they replace goes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

IS_OPEN = sa.text("status = 'in_progress'")
IS_TITLE = sa.text("purpose = 'title'")
OLD_INDEXES = {
    "ix_turns_answer_id": (["answer_id"], {}),
    "ix_turns_question_id": (["question_id"], {}),
    "ix_turns_open": (["owner"], {"sqlite_where": IS_OPEN, "postgresql_where": IS_OPEN}),
    "ix_turns_user_open": (["user_id"], {"sqlite_where": IS_OPEN, "postgresql_where": IS_OPEN}),
    "ix_turns_user_started": (["user_id", "started_at"], {}),
    "uq_turns_chat_key": (["chat_id", "key"], {"unique": True}),
    "uq_turns_chat_open": (["chat_id"], {"unique": True, "sqlite_where": IS_OPEN, "postgresql_where": IS_OPEN}),
}
REPORTED = ("input", "cached", "output", "thoughts", "tool")


def upgrade() -> None:
    for name in OLD_INDEXES:
        op.drop_index(name, "turns")
    op.rename_table("turns", "old_turns")
    if op.get_bind().dialect.name == "postgresql":
        _rename_constraints("old_turns", "_turns", "_old_turns")
    _make_exchanges()
    _make_turns()
    op.add_column("messages", sa.Column("exchange_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "exchange_id")
    op.drop_table("turns")
    op.drop_table("exchanges")
    op.rename_table("old_turns", "turns")
    if op.get_bind().dialect.name == "postgresql":
        _rename_constraints("turns", "_old_turns", "_turns")
    for name, (columns, options) in OLD_INDEXES.items():
        op.create_index(name, "turns", columns, **options)


def _rename_constraints(table: str, old: str, new: str) -> None:
    """Names of constraints are one space with indexes; the new table needs those that the old one had."""
    for constraint in ("pk", *(f"fk_{column}" for column in ("answer_id", "chat_id", "question_id", "user_id"))):
        kind, _, column = constraint.partition("_")
        target = {"answer_id": "messages", "question_id": "messages", "chat_id": "chats", "user_id": "users"}
        rest = f"_{column}_{target[column]}" if column else ""
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {kind}{old}{rest} TO {kind}{new}{rest}")


def _make_exchanges() -> None:
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(10), nullable=False),
        sa.Column("chat_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("error_code", sa.String(30), nullable=True),
        sa.Column("error_message", sa.String(300), nullable=True),
        sa.Column("finish_reason", sa.String(20), nullable=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("metering", sa.String(10), nullable=False),
        sa.Column("price", sa.JSON(), nullable=True),
        sa.Column("overhead_tokens", sa.Integer(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_answer_tokens", sa.Integer(), nullable=False),
        sa.Column("clamped_by_budget", sa.Boolean(), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("counted_tokens", sa.BigInteger(), nullable=False),
        sa.Column("charged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.String(10), nullable=True),
        *(sa.Column(f"reported_{name}_tokens", sa.BigInteger(), nullable=True) for name in REPORTED),
        sa.Column("reported_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], op.f("fk_exchanges_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchanges")),
    )
    open_ones = {"sqlite_where": IS_OPEN, "postgresql_where": IS_OPEN}
    op.create_index("ix_exchanges_open", "exchanges", ["owner"], **open_ones)
    op.create_index("ix_exchanges_user_open", "exchanges", ["user_id"], **open_ones)
    op.create_index("ix_exchanges_title", "exchanges", ["chat_id"], sqlite_where=IS_TITLE, postgresql_where=IS_TITLE)
    op.create_index("ix_exchanges_user_started", "exchanges", ["user_id", "started_at"])
    op.create_index("ix_exchanges_export", "exchanges", ["user_id", "day", "ended_at", "id"])


def _make_turns() -> None:
    foreign = (("answer_id", "messages"), ("chat_id", "chats"), ("question_id", "messages"), ("user_id", "users"))
    op.create_table(
        "turns",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("id", "chat_id", "user_id", "question_id", "answer_id")),
        sa.Column("key", sa.String(200), nullable=True),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent", sa.JSON(), nullable=True),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], op.f(f"fk_turns_{name}_{table}"), ondelete="CASCADE")
            for name, table in foreign
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
    )
    open_ones = {"sqlite_where": sa.text("is_open = 1"), "postgresql_where": sa.text("is_open")}
    op.create_index("ix_turns_answer_id", "turns", ["answer_id"])
    op.create_index("ix_turns_question_id", "turns", ["question_id"])
    op.create_index("ix_turns_user_open", "turns", ["user_id"], **open_ones)
    op.create_index("uq_turns_chat_key", "turns", ["chat_id", "key"], unique=True)
    op.create_index("uq_turns_chat_open", "turns", ["chat_id"], unique=True, **open_ones)
