"""Style sheets, scripts and icons as they are served."""

import gzip
import re

import pytest

from chatapp.kernel import assets


@pytest.fixture
def address(app):
    with app.test_request_context():
        return assets.static_url("app.css")


def test_a_file_is_kept_for_ever_under_the_name_with_its_hash(client, address):
    answer = client.get(address)

    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.mimetype == "text/css"
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/static/app.css", "/static/app.0123456789ab.css"])
def test_a_file_under_another_name_is_asked_for_again(client, path):
    answer = client.get(path)

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_it_is_compressed_for_those_who_can_read_that(client, address):
    plain, small = client.get(address), client.get(address, headers={"Accept-Encoding": "br, gzip"})

    assert gzip.decompress(small.data) == plain.data
    assert small.headers["ETag"] != plain.headers["ETag"]
    assert len(small.data) < len(plain.data) / 3


@pytest.mark.parametrize("path", ["nothing.css", "../pyproject.toml", "css/base.css", "vendor/manifest.json.map", ""])
def test_nothing_else_is_served(client, path):
    assert client.get(f"/static/{path}").status_code == 404


def test_every_part_is_in_the_joined_files(app):
    for folder, names in (("css", assets.STYLES), ("js", assets.SCRIPTS)):
        found = {path.stem for path in assets.Path(app.static_folder, folder).iterdir()}
        assert found == set(names)


def test_a_first_page_is_light(app, client):
    page = client.get("/login")
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js|svg))"', page.text))

    bodies = [client.get(address, headers={"Accept-Encoding": "gzip"}).data for address in addresses]

    assert len(addresses) <= 4
    assert sum(map(len, bodies)) + len(page.data) < 60_000
