"""indexes in the order in which exports read: each batch begins where the last one ended"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_chats_export", "chats", ["user_id", "created_at", "id"])
    op.create_index("ix_usage_records_export", "usage_records", ["user_id", "day", "ended_at", "turn_id"])
    op.drop_index("ix_usage_records_user_day", "usage_records")


def downgrade() -> None:
    op.create_index("ix_usage_records_user_day", "usage_records", ["user_id", "day"])
    op.drop_index("ix_usage_records_export", "usage_records")
    op.drop_index("ix_chats_export", "chats")
