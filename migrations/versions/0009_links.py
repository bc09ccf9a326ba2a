"""signed links that were made, used or revoked; failed tries before a login; emails in one form"""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BATCH = 500


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_links")),
    )
    op.create_index(op.f("ix_links_email"), "links", ["email"])
    op.create_index(op.f("ix_links_expires_at"), "links", ["expires_at"])
    op.add_column("login_sessions", sa.Column("failed_before", sa.Integer(), server_default="0", nullable=False))
    write_emails_in_one_form(op.get_bind())


def write_emails_in_one_form(connection) -> None:
    """Where two accounts would become one, both stay as they are: who is meant only their operator knows."""
    last = ""
    while rows := connection.execute(
        sa.text("SELECT email FROM users WHERE email > :last ORDER BY email LIMIT :batch"),
        {"last": last, "batch": BATCH},
    ).fetchall():
        last = rows[-1].email
        for (email,) in rows:
            wanted = canonical_email(email)
            if wanted != email:
                connection.execute(
                    sa.text(
                        "UPDATE users SET email = :wanted WHERE email = :email"
                        " AND NOT EXISTS (SELECT 1 FROM users AS others WHERE others.email = :wanted)"
                    ),
                    {"wanted": wanted, "email": email},
                )


def canonical_email(text: str) -> str:
    """As in auth/models.py when this was written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().lower())


def downgrade() -> None:
    op.drop_column("login_sessions", "failed_before")
    op.drop_table("links")
