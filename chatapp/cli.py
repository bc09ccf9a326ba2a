"""The command line: people, keys, and the check of the ledger. Results go to standard output, all else to the other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, get_args
from uuid import UUID

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError

from chatapp.auth import accounts, invitations, passwords
from chatapp.auth.invitations import Invitation
from chatapp.auth.models import ApiKey, Link, LoginSession, User
from chatapp.budget import ledger
from chatapp.budget.models import ResetPeriod, UserUsage
from chatapp.kernel.config import MAX_LIMIT_TOKENS
from chatapp.kernel.database import write
from chatapp.kernel.errors import ChatAppError
from chatapp.kernel.extensions import db

users = AppGroup("users", help="People: create, invite, limit, shut out.")
keys = AppGroup("keys", help="Personal keys for programs.")
ledger_group = AppGroup("ledger", help="What was granted and spent.")

TOKENS = click.IntRange(0, MAX_LIMIT_TOKENS)
MORE_TOKENS = click.IntRange(-MAX_LIMIT_TOKENS, MAX_LIMIT_TOKENS)


def init_app(app: Flask) -> None:
    for group in (users, keys, ledger_group):
        app.cli.add_command(group)


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Say what is wrong in a sentence and exit with 1, without a trace."""

    @wraps(command)
    def run(*args: Any, **values: Any) -> None:
        try:
            command(*args, **values)
        except ChatAppError as error:
            raise click.ClickException(error.message) from None
        except (OperationalError, ProgrammingError) as error:
            raise click.ClickException(_trouble(error)) from None

    return run


def _trouble(error: OperationalError | ProgrammingError) -> str:
    text = str(error.orig)
    if "no such table" in text or getattr(error.orig, "sqlstate", None) == "42P01":
        return "The database has no tables yet. Run `make run` once, or `flask db upgrade`"
    return f"The database did not answer: {text.splitlines()[0]}"


@users.command("create")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.option("--admin", is_flag=True, help="Make an administrator.")
@click.option("--limit", type=TOKENS, help="Tokens; without it the default of TOKEN_LIMIT.")
@plainly
def create_user(email: str, password_stdin: bool, admin: bool, limit: int | None) -> None:
    """Create an account."""
    email = accounts.clean_email(email)
    password_hash = _new_password(email, password_stdin)
    with write():
        accounts.create(email, password_hash, is_admin=admin, limit=limit)
    click.echo(f"Created {email}", err=True)


@users.command("set-password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@plainly
def set_password(email: str, password_stdin: bool) -> None:
    """Give somebody who forgot it a new password, and sign out all browsers. Personal keys stay."""
    user = _user(email)
    user_id, password_hash = user.id, _new_password(user.email, password_stdin)
    with write() as session:
        session.get_one(User, user_id).password_hash = password_hash
        LoginSession.end_all(user_id)
    click.echo(f"The password of {user.email} is changed", err=True)


def _new_password(email: str, is_at_stdin: bool) -> str:
    """Return the hash of a password that was read or asked for."""
    # Of standard input all is taken but the line end that a shell adds.
    password = sys.stdin.read().removesuffix("\n").removesuffix("\r") if is_at_stdin else _ask_password()
    if found := passwords.problem(password, email):
        raise click.ClickException(found)
    return passwords.make_hash(password)


def _ask_password() -> str:
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


@users.command("set-limit", context_settings={"ignore_unknown_options": True})
@click.argument("email")
@click.argument("tokens", type=TOKENS)
@plainly
def set_limit(email: str, tokens: int) -> None:
    """Set how many tokens somebody may use in a period."""
    user = _user(email)
    with write():
        ledger.set_limit(user.id, tokens, "set on the command line")


@users.command("grant", context_settings={"ignore_unknown_options": True})
@click.argument("email")
@click.argument("tokens", type=MORE_TOKENS)
@click.option("--reason", required=True, help="Why; it stands in the ledger.")
@plainly
def grant(email: str, tokens: int, reason: str) -> None:
    """Raise somebody's limit by so many tokens; a negative number lowers it."""
    user = _user(email)
    with write():
        ledger.grant(user.id, tokens, reason)


@users.command("set-period")
@click.argument("email")
@click.argument("period", type=click.Choice(get_args(ResetPeriod)))
@plainly
def set_period(email: str, period: ResetPeriod) -> None:
    """Set how often somebody's budget begins anew, at midnight in their own time zone."""
    user = _user(email)
    with write():
        ledger.set_period(user.id, period)


@users.command("invite")
@click.argument("email")
@click.option("--admin", is_flag=True, help="Invite an administrator.")
@click.option("--limit", type=TOKENS, help="Tokens; without it the default of TOKEN_LIMIT.")
@plainly
def invite(email: str, admin: bool, limit: int | None) -> None:
    """Print a link that makes an account for one email."""
    email = accounts.clean_email(email)
    if User.by_email(email):
        raise click.ClickException("An account with this email already exists")
    click.echo(Invitation(email, admin, limit).issue())


@users.command("invitations")
@plainly
def list_invitations() -> None:
    """List the invitations that can still be used: email, role, end."""
    for link in Link.invitations():
        click.echo(f"{link.email}\t{'admin' if link.is_admin else 'user'}\t{link.expires_at:%Y-%m-%d %H:%M} UTC")


@users.command("revoke-invitation")
@click.argument("email_or_link")
@plainly
def revoke_invitation(email_or_link: str) -> None:
    """Take back one invitation by its link, or all of an email."""
    invitations.revoke(email_or_link)


@users.command("disable")
@click.argument("email")
@plainly
def disable(email: str) -> None:
    """Shut somebody out at once."""
    _user(email).disable()


@users.command("enable")
@click.argument("email")
@plainly
def enable(email: str) -> None:
    """Let somebody in again."""
    _user(email).enable()


@users.command("list")
@plainly
def list_users() -> None:
    """List everybody: email, role, state, used and limit in tokens."""
    found = select(User, UserUsage).join(UserUsage, UserUsage.user_id == User.id).order_by(User.email)
    for user, usage in db.session.execute(found):
        role = "admin" if user.is_admin else "user"
        state = "enabled" if user.is_enabled else "disabled"
        click.echo(f"{user.email}\t{role}\t{state}\t{usage.total_tokens_used}\t{usage.token_limit}")


@keys.command("create")
@click.argument("email")
@click.option("--name", default="", help="What the key is for.")
@plainly
def create_key(email: str, name: str) -> None:
    """Print a new key. It cannot be shown again."""
    user = _user(email)
    with write():
        key = ApiKey.issue(user, name)
    click.echo(key)


@keys.command("list")
@click.argument("email")
@plainly
def list_keys(email: str) -> None:
    """List somebody's keys: id, beginning, name."""
    for key in ApiKey.in_force_of(_user(email).id):
        click.echo(f"{key.id}\t{key.hint}\t{key.name}")


@keys.command("revoke")
@click.argument("key_id", type=click.UUID)
@plainly
def revoke_key(key_id: UUID) -> None:
    """Revoke a key by its id (see list)."""
    key = db.session.get(ApiKey, key_id)
    if key is None:
        raise click.ClickException("There is no key with this id")
    key.revoke()


@ledger_group.command("verify")
@plainly
def verify() -> None:
    """Rebuild every balance from its entries; exit with 1 where one differs."""
    differences = ledger.verify()
    for difference in differences:
        click.echo(difference)
    if differences:
        sys.exit(1)
    click.echo("All balances agree with their entries")


def _user(email: str) -> User:
    user = User.by_email(email)
    if user is None:
        raise click.ClickException(f"There is no account with the email {email}")
    return user
