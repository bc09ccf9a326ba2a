"""exchanges: one table for every call to a model (3 of 3: what they replace goes)"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

IS_LEFT_OPEN = sa.text("ended_at IS NULL")
FIGURES = ("user_tokens", "answer_tokens", "system_tokens", "overhead_tokens", "counted_tokens", "charged_tokens")
REPORTED = ("input", "cached", "output", "thoughts")
OLD, NEW = "uq_ledger_entries_turn_operation", "uq_ledger_entries_exchange_operation"


def upgrade() -> None:
    for table in ("old_turns", "title_turns", "usage_records"):
        op.drop_table(table)
    op.drop_column("messages", "usage")
    op.drop_column("messages", "tokens_consumed")
    _rename_ledger_column("turn_id", "exchange_id", OLD, NEW)


def _rename_ledger_column(old: str, new: str, old_index: str, new_index: str) -> None:
    op.execute(f"ALTER TABLE ledger_entries RENAME COLUMN {old} TO {new}")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old_index} RENAME TO {new_index}")
    else:
        op.drop_index(old_index, "ledger_entries")
        op.create_index(new_index, "ledger_entries", [new, "operation"], unique=True)


def downgrade() -> None:
    _rename_ledger_column("exchange_id", "turn_id", NEW, OLD)
    op.add_column("messages", sa.Column("tokens_consumed", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("messages", sa.Column("usage", sa.JSON(), nullable=True))
    _make_old_turns()
    _make_titles()
    _make_records()


def _make_old_turns() -> None:
    foreign = (("answer_id", "messages"), ("chat_id", "chats"), ("question_id", "messages"), ("user_id", "users"))
    op.create_table(
        "old_turns",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("id", "chat_id", "user_id", "question_id", "answer_id")),
        sa.Column("key", sa.String(200), nullable=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("error_code", sa.String(30), nullable=True),
        sa.Column("finish_reason", sa.String(20), nullable=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metering", sa.String(10), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("max_answer_tokens", sa.Integer(), nullable=False),
        sa.Column("clamped_by_budget", sa.Boolean(), nullable=False),
        sa.Column("charged_tokens", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.JSON(), nullable=True) for name in ("sent", "usage", "reported", "price")),
        sa.Column("reported_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], op.f(f"fk_old_turns_{name}_{table}"), ondelete="CASCADE")
            for name, table in foreign
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_old_turns")),
    )


def _make_titles() -> None:
    op.create_table(
        "title_turns",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("id", "user_id", "chat_id")),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("answer_tokens", sa.Integer(), nullable=False),
        sa.Column("charged_tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], op.f("fk_title_turns_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_title_turns")),
    )
    op.create_index("ix_title_turns_user_id", "title_turns", ["user_id"])
    op.create_index("ix_title_turns_chat_id", "title_turns", ["chat_id"])
    where = {"sqlite_where": IS_LEFT_OPEN, "postgresql_where": IS_LEFT_OPEN}
    op.create_index("ix_title_turns_open", "title_turns", ["started_at"], **where)


def _make_records() -> None:
    op.create_table(
        "usage_records",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("turn_id", "user_id", "chat_id")),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("metering", sa.String(10), nullable=False),
        sa.Column("method", sa.String(10), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
        *(sa.Column(f"reported_{name}_tokens", sa.BigInteger(), nullable=True) for name in REPORTED),
        sa.Column("reported_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], op.f("fk_usage_records_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_usage_records")),
    )
    op.create_index("ix_usage_records_export", "usage_records", ["user_id", "day", "ended_at", "turn_id"])
