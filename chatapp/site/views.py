"""The web manifest, the service worker, and the page that it shows while there is no network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, url_for
from flask.typing import ResponseReturnValue

from chatapp.kernel.assets import static_url
from chatapp.kernel.config import settings

bp = Blueprint("site", __name__)

ICONS = (("icon-192.png", "192x192", "any"), ("icon-512.png", "512x512", "any"), ("icon.svg", "any", "any"))
MASKABLE = ("maskable-512.png", "512x512", "maskable")


@bp.get("/manifest.webmanifest")
def manifest() -> ResponseReturnValue:
    response = jsonify(
        id="/",
        name=settings().site_name,
        short_name=settings().site_name,
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#fcfcfb",
        theme_color="#f6f6f5",
        icons=[_icon(*icon) for icon in (*ICONS, MASKABLE)],
    )
    response.mimetype = "application/manifest+json"
    response.headers["Cache-Control"] = "no-cache"
    return response


def _icon(name: str, sizes: str, purpose: str) -> dict[str, Any]:
    return {"src": static_url(f"icons/{name}"), "sizes": sizes, "purpose": purpose}


@bp.get("/offline")
def offline() -> str:
    """The page for when there is no network. It is kept in the browser, so nothing in it may be private."""
    return render_template("site/offline.html")


@bp.get("/service-worker.js")
def service_worker() -> Response:
    """Return the service worker. It changes when the page that it keeps changes: by an upgrade, language or theme."""
    page = offline()
    kept = {
        "page": url_for("site.offline"),
        "files": [static_url(name) for name in ("app.css", "app.js", "vendor/htmx.js")],
        "version": hashlib.sha256(page.encode()).hexdigest()[:12],
    }
    code = Path(current_app.static_folder or "", "service-worker.js").read_text("utf-8")
    response = make_response(f"const KEPT = {json.dumps(kept)};\n{code}")
    response.mimetype = "text/javascript"
    response.headers["Cache-Control"] = "no-cache, private"
    return response
