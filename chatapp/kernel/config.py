"""Typed settings, read once from the environment and a `.env` file. A wrong value stops startup and is named.

Every field is an environment variable of the same name in capitals. The README lists the commonly changed ones.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from flask import current_app
from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from chatapp.kernel.text import MODEL_NAME_CHARS, TITLE_CHARS

PACKAGE = Path(__file__).resolve().parent.parent
# Templates, static files and migrations: beside the package in a checkout, inside it in a wheel (hatch_build.py).
FILES = PACKAGE / "files" if (PACKAGE / "files").is_dir() else PACKAGE.parent
# A wheel's files are inside Python's own folder, which should hold no data.
HOME = Path.cwd() if FILES.parent == PACKAGE else FILES
SECRET_BYTES = 32
MAX_LIMIT_TOKENS = 10**15

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class ConfigurationError(Exception):
    """A setting is wrong. The message names it and is written for the operator."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    # Where it runs
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    public_url: str | None = None
    proxy_hops: NotNegative = 0
    web_concurrency: Positive = 1
    instance_dir: Path = HOME / "instance"
    secret_key: str | None = None
    secret_key_fallbacks: str = ""
    database_url: str | None = None
    database_pool_size: Positive = 5
    database_max_overflow: NotNegative = 10
    redis_url: str | None = None
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    drain_seconds: NotNegative = 25
    loop_alarm_ms: NotNegative = 0

    # What it is called
    site_name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)] = "Tally"
    site_logo: Path | None = None

    # Accounts and rate limits
    signup: Literal["invite", "open", "closed"] = "invite"
    invitation_days: Positive = 7
    login_days: Positive = 30
    login_idle_days: Positive = 14
    sign_ins_per_minute: Positive = 10
    sign_in_failures_per_day: Positive = 30
    sends_per_minute: Positive = 120
    calls_per_minute: Positive = 1200
    rate_limits: bool = True

    # Models
    gemini_api_key: str | None = None
    gemini_base_url: str | None = None
    gemini_client: Literal["rest", "sdk"] = "rest"
    openai_base_url: str | None = None
    openai_api_key: str | None = None
    openai_models: str = ""
    default_model: Annotated[str, Field(max_length=MODEL_NAME_CHARS)] | None = None
    system_prompt: str = ""
    demo_pace_seconds: Annotated[float, Field(ge=0)] = 0.03
    provider_connect_seconds: Seconds = 5
    provider_idle_seconds: Seconds = 60
    provider_total_seconds: Seconds = 600
    provider_tries: Positive = 3
    titles: Literal["first_line", "model"] = "first_line"

    # Sizes
    message_chars: Positive = 5000
    title_chars: Annotated[int, Field(gt=0, le=TITLE_CHARS)] = TITLE_CHARS
    system_prompt_chars: Positive = 8000
    body_bytes: Positive = 256 * 1024
    endpoint_bytes: Positive = 8 * 1024 * 1024
    import_bytes: Positive = 32 * 1024 * 1024
    import_zip_bytes: Positive = 512 * 1024 * 1024
    attachments: bool = True
    attachment_dir: Path | None = None
    attachment_bytes: Positive = 20 * 1024 * 1024
    attachment_quota_bytes: NotNegative = 200 * 1024 * 1024
    image_side: Positive = 1536
    image_pixels: Positive = 50_000_000
    pdf_pages: Positive = 100
    text_file_chars: Positive = 200_000
    history_messages: NotNegative = 10
    # Ten of the longest messages and answers stay below this; it exists for imported chats.
    history_tokens: NotNegative = 65_536
    max_open_turns: Positive = 500
    max_user_turns: Positive = 50
    max_loop_lag_ms: Positive = 500
    max_listeners: Positive = 6000
    max_listeners_per_turn: Positive = 20
    max_listeners_per_user: Positive = 50
    stream_seconds: Seconds = 300
    send_seconds: Seconds = 30

    # Counting and budget
    metering: Literal["exchange", "provider"] = "exchange"
    token_estimator: Literal["calibrated", "seed"] = "calibrated"
    estimate_chars_per_token: Positive = 4
    estimate_special_factor: Annotated[float, Field(ge=0)] = 0.02
    estimate_buffer: Annotated[float, Field(ge=1)] = 1.03
    tokenizer_file: Path | None = None
    tokenizer_sha256: str | None = None
    count_seconds: Seconds = 2
    count_cache_entries: Positive = 10_000
    overhead_tokens: NotNegative = 10
    token_limit: Annotated[int, Field(ge=0, le=MAX_LIMIT_TOKENS)] = 100_000
    max_output_tokens: Positive = 8192
    min_answer_tokens: Positive = 64
    prices_file: Path | None = None
    reset_period: Literal["none", "daily", "weekly", "monthly"] = "monthly"

    @field_validator("public_url", "gemini_base_url", "openai_base_url", "database_url", "redis_url")
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        read, example = ADDRESSES[str(info.field_name)]
        try:
            return value and read(value)
        except (ValueError, ArgumentError):
            # Not the parser's own message, which may quote a password.
            raise ValueError(f"must look like {example}") from None

    @field_validator("secret_key")
    @classmethod
    def _is_a_secret(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) < SECRET_BYTES:
            raise ValueError(f"must have at least {SECRET_BYTES} bytes")
        return value

    @model_validator(mode="after")
    def _can_share(self) -> Self:
        if self.web_concurrency > 1 and not self.redis_url:
            raise ValueError("WEB_CONCURRENCY above 1 needs REDIS_URL: processes share answers through Redis")
        return self

    @property
    def is_https(self) -> bool:
        return bool(self.public_url and self.public_url.startswith("https://"))

    @property
    def database_uri(self) -> str:
        return self.database_url or f"sqlite:///{self.instance_dir / 'chat.db'}"


def _parts(value: str, *schemes: str) -> SplitResult:
    parts = urlsplit(value)
    # Reading the port raises ValueError if it is not a number.
    if parts.scheme not in schemes or parts.port == 0:
        raise ValueError
    return parts


def web_address(value: str) -> str:
    """Return an http or https URL as it is. Raises ValueError for anything else."""
    if not _parts(value, "http", "https").hostname:
        raise ValueError
    return value


def _origin(value: str) -> str:
    parts = urlsplit(web_address(value))
    if parts.path.strip("/") or parts.query:
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}"


def _database(value: str) -> str:
    """Accept the URLs that hosting providers hand out, and use psycopg 3 for PostgreSQL."""
    scheme, _, rest = value.partition("://")
    if scheme in ("postgres", "postgresql"):
        value = f"postgresql+psycopg://{rest}"
    if make_url(value).drivername not in ("postgresql+psycopg", "sqlite"):
        raise ValueError
    return value


def _redis(value: str) -> str:
    parts = _parts(value, "redis", "rediss", "unix")
    # redis-py treats a non-numeric database as database 0.
    if parts.scheme != "unix" and not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError
    return value


ADDRESSES: dict[str, tuple[Callable[[str], str], str]] = {
    "public_url": (_origin, "https://chat.example.org, without a path"),
    "gemini_base_url": (web_address, "https://generativelanguage.googleapis.com"),
    "openai_base_url": (web_address, "http://127.0.0.1:11434/v1"),
    "database_url": (_database, "postgresql://user:password@host/name or sqlite:////folder/chat.db"),
    "redis_url": (_redis, "redis://127.0.0.1:6379/0, rediss://… or unix://…"),
}


def load(**overrides: Any) -> Settings:
    """Read the settings. Raises ConfigurationError naming every wrong variable and why."""
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_line(problem) for problem in error.errors())) from None
    try:
        settings.instance_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"INSTANCE_DIR: {settings.instance_dir}: {error.strerror}") from None
    return settings


def _line(problem: Any) -> str:
    name = str(problem["loc"][0]).upper() if problem["loc"] else ""
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {reason}" if name else reason


def secret_key(settings: Settings) -> str:
    """Return the key that signs cookies and links. If none is set, it is created once, in the instance folder."""
    if settings.secret_key:
        return settings.secret_key
    path = settings.instance_dir / "secret_key"
    try:
        return (path.exists() and path.read_text()) or _make_secret_key(path)
    except OSError as error:
        raise ConfigurationError(f"INSTANCE_DIR: {path}: {error.strerror}") from None


def _make_secret_key(path: Path) -> str:
    """Write a new key, or return the one that another process, starting at the same time, has written."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (key := file.read()):
            file.write(key := secrets.token_hex(SECRET_BYTES))
    return key


def settings() -> Settings:
    """Return the settings of the running application."""
    found: Settings = current_app.extensions["settings"]
    return found
