"""The start page wide and light, and dark on a screen as narrow as a phone's: imported in place of the one look."""

import pytest

__all__ = ["page"]

LOOKS = {
    "wide": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@pytest.fixture(params=LOOKS)
def page(request, open_page):
    return open_page(**LOOKS[request.param])
