"""Time zones that a browser, this machine and a stored account call by different names."""

import shutil
import zoneinfo
from pathlib import Path

import pytest

from chatapp.kernel import zones

PRESENT = {
    "Asia/Calcutta": "Asia/Kolkata",
    "Asia/Saigon": "Asia/Ho_Chi_Minh",
    "Asia/Katmandu": "Asia/Kathmandu",
    "Asia/Rangoon": "Asia/Yangon",
    "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
    "Europe/Kiev": "Europe/Kyiv",
    "Pacific/Enderbury": "Pacific/Kanton",
    "US/Pacific": "America/Los_Angeles",
    "UTC": "UTC",
}


@pytest.fixture
def machine(tmp_path):
    """Let this machine know some zones only, by the names given."""
    system = next(Path(place) for place in zoneinfo.TZPATH if (Path(place) / "Asia/Kolkata").exists())

    def know(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(system / name, tmp_path / name)
        zoneinfo.reset_tzpath([tmp_path])
        zoneinfo.ZoneInfo.clear_cache()
        zones.zone.cache_clear()

    yield know
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()
    zones.zone.cache_clear()


@pytest.mark.parametrize("old", PRESENT)
def test_an_old_name_is_the_present_one(old):
    assert zones.known(old) == PRESENT[old]


def test_a_machine_without_the_old_names_knows_what_is_meant(machine):
    machine(*PRESENT.values())

    assert {old: zones.known(old) for old in PRESENT} == PRESENT
    assert zones.zone("Asia/Calcutta").key == "Asia/Kolkata"


def test_a_machine_that_knows_the_old_name_alone_takes_that(machine):
    machine("UTC", "Europe/Kiev")

    assert zones.zone("Europe/Kyiv").key == "Europe/Kiev"


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "a\0b"])
def test_what_is_no_zone_is_utc_and_named(name, caplog):
    zones.zone.cache_clear()

    assert zones.zone(name).key == "UTC"
    assert "Unknown time zone" in caplog.text
