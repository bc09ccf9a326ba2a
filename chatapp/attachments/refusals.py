"""Why a file is refused."""

from __future__ import annotations

from chatapp.kernel.errors import Forbidden, InvalidRequest
from chatapp.kernel.text import N_


class StorageLimitExceeded(Forbidden):
    code = "STORAGE_LIMIT_EXCEEDED"
    default_message = N_("Your files take all the space you have. Delete some first")


class AttachmentTooLarge(InvalidRequest):
    status = 413
    code = "ATTACHMENT_TOO_LARGE"
    default_message = N_("The file is too large")


class UnsupportedAttachment(InvalidRequest):
    status = 415
    code = "UNSUPPORTED_ATTACHMENT"
    default_message = N_("Only pictures, PDFs and text files can be added")


class UnreadableAttachment(InvalidRequest):
    status = 422
    code = "UNREADABLE_ATTACHMENT"
    default_message = N_("The file is damaged and can’t be read")
