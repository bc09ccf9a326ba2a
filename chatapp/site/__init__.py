"""The site as a browser installs it: its name and logo, the web manifest, and a page for when there is no network."""

from __future__ import annotations

from flask import Flask

from chatapp.kernel import assets
from chatapp.kernel.config import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Give templates site_name and site_logo, the URL of the operator's logo or None.

    Raises ValueError naming SITE_LOGO if it is no picture that can be served.
    """
    logo = assets.add_logo(app, settings.site_logo) if settings.site_logo else None
    app.jinja_env.globals.update(site_name=settings.site_name, site_logo=lambda: logo and assets.static_url(logo))
