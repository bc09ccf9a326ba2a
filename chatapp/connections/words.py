"""What an administrator is told when a connection does not work, and how to mend it."""

from __future__ import annotations

from flask_babel import gettext as _

from chatapp.kernel.errors import (
    ModelNotFound,
    PlaceNotServed,
    ProviderError,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderOverloaded,
    ProviderQuotaUsedUp,
    ProviderRateLimited,
)


def refusal_text(error: ProviderError) -> str:
    """Return why a test failed. The server's code is in the log."""
    texts = {
        ProviderKeyRefused: _("The provider refuses this key. Check that it is complete and still valid."),
        ModelNotFound: _("The provider doesn’t have this model."),
        PlaceNotServed: _("The provider doesn’t serve the country this server runs in."),
        ProviderMisconfigured: _("No model server answers at this address. Should it end in /v1?"),
        ProviderQuotaUsedUp: _("The key works, but its quota is used up."),
        ProviderRateLimited: _("The key works, but the provider is limiting its requests. Try again in a minute."),
        ProviderOverloaded: _("The provider is overloaded. Try again in a moment."),
    }
    found = next((texts[kind] for kind in type(error).__mro__ if kind in texts), None)
    return found or _("The server can’t be reached. Check the address, and that it is running.")
