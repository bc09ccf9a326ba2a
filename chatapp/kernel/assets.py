"""Style sheets, scripts and icons: read once at startup, joined, compressed, and served under names with their hash.

A page loads one style sheet and two scripts. The parts are plain files, joined as they are: nothing is compiled.
Scripts need no imports: each is independent and wrapped in its own block scope.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, abort, current_app, redirect, request

# Order matters: the first one names the cascade layers.
STYLES = [
    *("tokens", "base", "controls", "shell", "sidebar", "conversation", "prose", "code"),
    *("composer", "notices", "forms", "usage", "print"),
]
SCRIPTS = [
    *("theme", "side", "toasts", "composer", "prompts", "drafts", "follow", "anchor", "news"),
    *("revise", "stream", "copy", "menu", "list", "shortcuts", "offline", "start"),
]
MIMETYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
TEXT = (".css", ".js", ".svg")
HASHED = re.compile(r"(?P<stem>.+)\.[0-9a-f]{12}(?P<suffix>\.[a-z]+)")
LOGO_TYPES = (".svg", ".png", ".webp")
LOGO_BYTES = 256 * 1024
A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as served. url_name is its name with the hash: icon.svg → icon.0123456789ab.svg."""

    url_name: str
    mimetype: str
    body: bytes
    gzipped: bytes | None

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        stem, suffix = name.rsplit(".", 1)
        mimetype = MIMETYPES.get(f".{suffix}") or mimetypes.guess_type(name)[0] or "application/octet-stream"
        gzipped = gzip.compress(body, 9, mtime=0) if name.endswith(TEXT) else None
        return cls(f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{suffix}", mimetype, body, gzipped)


def init_app(app: Flask) -> None:
    app.extensions["assets"] = load(Path(app.static_folder or ""))
    app.view_functions["static"] = serve
    app.jinja_env.globals["static_url"] = static_url
    # Requested by anything without a page to name an icon, such as a plain-text download.
    app.add_url_rule("/favicon.ico", "favicon", lambda: redirect(static_url("icons/icon.svg")))


def add_logo(app: Flask, path: Path) -> str:
    """Serve the operator's logo, an SVG, PNG or WebP file of at most 256 KiB, and return its name as an asset.

    Raises ValueError naming SITE_LOGO.
    """
    if path.suffix.lower() not in LOGO_TYPES:
        raise ValueError(f"SITE_LOGO: {path}: must end in {', '.join(LOGO_TYPES)}")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ValueError(f"SITE_LOGO: {path}: {error.strerror}") from None
    if len(body) > LOGO_BYTES:
        raise ValueError(f"SITE_LOGO: {path}: has {len(body):,} bytes, at most {LOGO_BYTES:,} are allowed")
    name = f"logo{path.suffix.lower()}"
    app.extensions["assets"][name] = Asset.of(name, body)
    return name


def load(root: Path) -> dict[str, Asset]:
    """Read everything that is served, by name: app.css, app.js, and every other file except their parts."""
    css = [(root / "css" / f"{name}.css").read_text("utf-8") for name in STYLES]
    js = [(root / "js" / f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    bodies = {"app.css": "\n".join(css), "app.js": "\n".join(f"{{\n{part}}}" for part in js)}
    found = {name: Asset.of(name, body.encode()) for name, body in bodies.items()}
    for folder in ("icons", "vendor"):
        for path in sorted((root / folder).glob("*.*")):
            found[f"{folder}/{path.name}"] = Asset.of(f"{folder}/{path.name}", path.read_bytes())
    return found


def assets() -> dict[str, Asset]:
    if current_app.debug:
        current_app.extensions["assets"] |= load(Path(current_app.static_folder or ""))
    found: dict[str, Asset] = current_app.extensions["assets"]
    return found


def static_url(name: str) -> str:
    """Return the URL of a file. Raises KeyError if it does not exist: run `pip install -e .` for vendor/."""
    return f"/static/{assets()[name].url_name}"


def serve(filename: str) -> Response:
    """Serve a file: cached forever under the name with its hash, revalidated under any other.

    During a deployment a page of the old version may request an old hash: it gets the current file, to be revalidated.
    """
    match = HASHED.fullmatch(filename)
    asset = assets().get(match["stem"] + match["suffix"] if match else filename)
    if asset is None:
        abort(404)
    compress = asset.gzipped is not None and request.accept_encodings.quality("gzip") > 0
    response = Response(asset.gzipped if compress else asset.body, content_type=asset.mimetype)
    if compress:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Cache-Control"] = A_YEAR if filename == asset.url_name else "no-cache"
    response.vary.add("Accept-Encoding")
    response.set_etag(asset.url_name + ("-gzip" if compress else ""))
    response.make_conditional(request)
    return response
