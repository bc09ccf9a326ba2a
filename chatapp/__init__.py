"""The application: configuration, extensions, wiring, blueprints, command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from chatapp.budget import ledger
from chatapp.budget.pricing import PriceTable
from chatapp.kernel import config, cookies, database, logs, private, web
from chatapp.kernel.extensions import csrf, db, limiter, login_manager, migrate
from chatapp.kernel.redis import SoftRedis, soft_options
from chatapp.providers.registry import Providers


def create_app(providers: Providers | None = None, **overrides: Any) -> Flask:
    """Build the application from the environment; overrides are settings by name (see config.Settings).

    providers: used instead of those in the settings.
    Raises config.ConfigurationError naming every wrong setting.
    """
    settings = config.load(**overrides)
    app = Flask(
        __name__,
        template_folder=str(config.FILES / "templates"),
        static_folder=str(config.FILES / "static"),
        instance_path=str(settings.instance_dir.resolve()),
    )
    app.extensions["settings"] = settings
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.update(_flask_config(settings))
    logs.init_app(settings)
    private.tighten(settings)
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    _bind_extensions(app)
    _register(app)
    try:
        _wire(app, settings, providers)
    except ValueError as error:
        # A model, a price table or a tokenizer that cannot be used: each names its setting.
        raise config.ConfigurationError(str(error)) from None
    return app


def _flask_config(settings: config.Settings) -> dict[str, Any]:
    uri = settings.database_uri
    key = config.secret_key(settings)
    return {
        "SECRET_KEY": key,
        "SECRET_KEY_FALLBACKS": settings.secret_key_fallbacks.split() or None,
        "SQLALCHEMY_DATABASE_URI": uri,
        "SQLALCHEMY_ENGINE_OPTIONS": database.engine_options(
            uri, settings.database_pool_size, settings.database_max_overflow
        ),
        "MAX_CONTENT_LENGTH": settings.body_bytes,
        "MAX_FORM_MEMORY_SIZE": settings.body_bytes,
        "SESSION_COOKIE_NAME": cookies.named("session", key, is_https=settings.is_https),
        "SESSION_COOKIE_SECURE": settings.is_https,
        "SESSION_COOKIE_HTTPONLY": True,
        # Explicit: a cookie without the attribute goes along with a cross-site form POST.
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=settings.login_days),
        "TRUSTED_HOSTS": [settings.public_url.split("://")[1]] if settings.public_url else None,
        # Checked by auth after the login is known: a key needs none. It lives as long as its session.
        "WTF_CSRF_CHECK_DEFAULT": False,
        "WTF_CSRF_TIME_LIMIT": None,
        "RATELIMIT_ENABLED": settings.rate_limits,
        # Redis that hangs must cost a moment, not the client's own minute.
        "RATELIMIT_STORAGE_OPTIONS": soft_options() if settings.redis_url else {},
        "RATELIMIT_STORAGE_URI": settings.redis_url or "memory://",
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": bool(settings.redis_url),
        "RATELIMIT_KEY_PREFIX": "chat-limit",
        "BABEL_DEFAULT_LOCALE": "en",
        "SEND_FILE_MAX_AGE_DEFAULT": timedelta(days=365),
    }


def _bind_extensions(app: Flask) -> None:
    from chatapp.auth import accounts, sessions, tries
    from chatapp.kernel import i18n

    # Accounts know nothing of budgets; this is where the two meet.
    if ledger.open_account not in accounts.on_created:
        accounts.on_created.append(ledger.open_account)
    db.init_app(app)
    database.init_app(app)
    migrate.init_app(app, db, directory=str(config.FILES / "migrations"))
    # First, so that the refusals of those that follow have a request id.
    web.init_app(app)
    csrf.init_app(app)
    limiter.init_app(app)
    i18n.init_app(app)
    login_manager.init_app(app)
    sessions.init_app(app)
    tries.init_app(app)


def _register(app: Flask) -> None:
    from chatapp import cli
    from chatapp.admin.views import bp as admin
    from chatapp.api.openai.views import bp as endpoint
    from chatapp.api.tokens import bp as tokens
    from chatapp.api.views import bp as api
    from chatapp.attachments.views import bp as attachments
    from chatapp.auth.account_views import bp as auth
    from chatapp.chats.views import bp as chats
    from chatapp.connections.views import bp as connections
    from chatapp.conversation.views import bp as conversation
    from chatapp.kernel import assets
    from chatapp.kernel.server import health
    from chatapp.personas.views import bp as personas
    from chatapp.site.views import bp as site
    from chatapp.transfers.views import bp as transfers
    from chatapp.usage.views import bp as usage

    pages = (auth, chats, personas, conversation, transfers, usage, admin, connections, site)
    for blueprint in (*pages, api, attachments, tokens, endpoint, health.bp):
        app.register_blueprint(blueprint)
    health.init_app(app)
    assets.init_app(app)
    cli.init_app(app)


def _wire(app: Flask, settings: config.Settings, providers: Providers | None) -> None:
    """Choose what the application runs with: memory or Redis, which providers, who counts."""
    from chatapp import site
    from chatapp.attachments.store import LocalStore
    from chatapp.tokens.cache import MemoryCache, RedisCache
    from chatapp.tokens.count import Counter
    from chatapp.tokens.local import LocalTokenizer
    from chatapp.turns.live.log import MemoryLog
    from chatapp.turns.live.process import LiveTurns
    from chatapp.turns.live.redis_log import RedisLog

    providers = providers or Providers.from_settings(settings)
    redis = SoftRedis(settings.redis_url) if settings.redis_url else None
    entries = settings.count_cache_entries
    file = settings.tokenizer_file
    local = LocalTokenizer(file, settings.tokenizer_sha256) if file else None
    cache = RedisCache(redis, entries) if redis else MemoryCache(entries)
    site.init_app(app, settings)
    app.extensions["providers"] = providers
    app.extensions["counter"] = Counter(providers, cache, settings, local)
    app.extensions["attachment_store"] = LocalStore(settings.attachment_dir or settings.instance_dir / "attachments")
    app.extensions["prices"] = PriceTable(settings.prices_file)
    app.extensions["live_turns"] = LiveTurns(app, RedisLog(redis) if redis else MemoryLog())
