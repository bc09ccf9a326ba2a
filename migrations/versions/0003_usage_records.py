"""what each exchange came to, notices of low budgets, a ledger that cannot be altered"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

FIGURES = ('user_tokens', 'answer_tokens', 'system_tokens', 'overhead_tokens', 'counted_tokens', 'charged_tokens')
REPORTED = ('input', 'cached', 'output', 'thoughts')


def upgrade() -> None:
    records = op.create_table(
        'usage_records',
        sa.Column('turn_id', sa.Uuid(), nullable=False),
        sa.Column('user_id', sa.Uuid(), nullable=False),
        sa.Column('chat_id', sa.Uuid(), nullable=False),
        sa.Column('model', sa.String(length=100), nullable=False),
        sa.Column('day', sa.Date(), nullable=False),
        sa.Column('ended_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('status', sa.String(length=12), nullable=False),
        sa.Column('metering', sa.String(length=10), nullable=False),
        sa.Column('method', sa.String(length=10), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in FIGURES),
        *(sa.Column(f'reported_{name}_tokens', sa.BigInteger(), nullable=True) for name in REPORTED),
        sa.Column('reported_tokens', sa.BigInteger(), nullable=True),
        sa.Column('cost_microusd', sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_usage_records_user_id_users'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('turn_id', name=op.f('pk_usage_records')),
    )
    op.create_index('ix_usage_records_user_day', 'usage_records', ['user_id', 'day'], unique=False)
    op.create_table(
        'budget_notices',
        sa.Column('user_id', sa.Uuid(), nullable=False),
        sa.Column('period_start', sa.DateTime(timezone=True), nullable=False),
        sa.Column('percent', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('seen_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_budget_notices_user_id_users'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('user_id', 'period_start', 'percent', name=op.f('pk_budget_notices')),
    )
    fill(records)
    if op.get_bind().dialect.name == 'sqlite':
        op.execute(
            "CREATE TRIGGER ledger_entries_stay BEFORE UPDATE ON ledger_entries "
            "BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never altered'); END"
        )
    else:
        op.execute(
            "CREATE FUNCTION ledger_entries_stay() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'an entry of the ledger is never altered'; END $$"
        )
        op.execute(
            "CREATE TRIGGER ledger_entries_stay BEFORE UPDATE ON ledger_entries "
            "FOR EACH ROW EXECUTE FUNCTION ledger_entries_stay()"
        )


def fill(records: sa.Table) -> None:
    """Make records of the turns that have ended so far; the day is UTC's."""
    turns = sa.table(
        'turns',
        sa.column('id', sa.Uuid()), sa.column('user_id', sa.Uuid()), sa.column('chat_id', sa.Uuid()),
        sa.column('model', sa.String()), sa.column('status', sa.String()), sa.column('metering', sa.String()),
        sa.column('charged_tokens', sa.BigInteger()), sa.column('usage', sa.JSON()), sa.column('reported', sa.JSON()),
        sa.column('ended_at', sa.DateTime(timezone=True)), sa.column('cost_microusd', sa.BigInteger()),
    )  # fmt: skip
    connection = op.get_bind()
    rows = connection.execute(sa.select(turns).where(turns.c.ended_at.is_not(None))).all()
    made = []
    for row in rows:
        usage, reported = row.usage or {}, row.reported or {}
        parts = {f'{name}_tokens': usage.get(f'{name}_tokens', 0) for name in ('user', 'answer', 'system', 'overhead')}
        made.append(
            {
                'turn_id': row.id, 'user_id': row.user_id, 'chat_id': row.chat_id, 'model': row.model,
                'day': row.ended_at.date(), 'ended_at': row.ended_at, 'status': row.status, 'metering': row.metering,
                'method': usage.get('method', 'estimate'), **parts, 'counted_tokens': sum(parts.values()),
                'charged_tokens': row.charged_tokens, 'cost_microusd': row.cost_microusd,
                'reported_tokens': reported.get('total_tokens'),
                **{f'reported_{name}_tokens': reported.get(f'{name}_tokens') for name in REPORTED},
            }  # fmt: skip
        )
    if made:
        connection.execute(sa.insert(records), made)


def downgrade() -> None:
    op.execute('DROP TRIGGER ledger_entries_stay' + ('' if op.get_bind().dialect.name == 'sqlite' else ' ON ledger_entries'))
    if op.get_bind().dialect.name != 'sqlite':
        op.execute('DROP FUNCTION ledger_entries_stay()')
    op.drop_table('budget_notices')
    op.drop_table('usage_records')
