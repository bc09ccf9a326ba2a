"""defaults for the options of new chats"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("default_temperature", sa.Double(), nullable=True))
    op.add_column("users", sa.Column("default_thinking_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "default_thinking_tokens")
    op.drop_column("users", "default_temperature")
