"""What the page says after an import: how much was imported, and what was not or was changed."""

from __future__ import annotations

from collections.abc import Iterator

from flask_babel import format_number, ngettext
from flask_babel import gettext as _

from chatapp.transfers.bounds import Intake
from chatapp.transfers.importing import Imported

SHOWN_KINDS = 5


def imported(found: Imported) -> str:
    said = ngettext("%(num)s chat was imported.", "%(num)s chats were imported.", found.chats)
    if found.known:
        said += " " + ngettext("%(num)s was already here.", "%(num)s were already here.", found.known)
    return " ".join([said, *_not_kept(found.intake), *_changed(found.intake)])


def _not_kept(intake: Intake) -> Iterator[str]:
    if intake.unreadable:
        told = ngettext("%(num)s chat could not be read:", "%(num)s chats could not be read:", intake.unreadable)
        more = " …" if intake.unreadable > len(intake.reasons) else "."
        yield f"{told} {'; '.join(intake.reasons)}{more}"
    if intake.left_out:
        kinds = ", ".join(sorted(intake.left_out)[:SHOWN_KINDS])[:200]
        yield ngettext(
            "%(num)s part of an unknown kind was left out (%(kinds)s).",
            "%(num)s parts of unknown kinds were left out (%(kinds)s).",
            intake.left_out.total(),
            kinds=kinds,
        )


def _changed(intake: Intake) -> Iterator[str]:
    if intake.cut_texts:
        yield ngettext(
            "%(num)s text was cut off after %(limit)s characters.",
            "%(num)s texts were cut off after %(limit)s characters.",
            intake.cut_texts,
            limit=format_number(intake.bounds.message_chars),
        )
    if intake.changed_dates:
        yield ngettext(
            "%(num)s impossible date was replaced by today’s.",
            "%(num)s impossible dates were replaced by today’s.",
            intake.changed_dates,
        )
    if intake.has_foreign_bytes:
        yield _("The file is not entirely UTF-8, so some characters were replaced.")
