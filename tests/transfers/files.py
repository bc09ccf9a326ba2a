"""Files as other programs export them, small: what the tests of imports build theirs from."""

import io
import json
import zipfile

from chatapp.kernel.database import now
from chatapp.transfers import reading, unpacking
from chatapp.transfers.bounds import Bounds, Intake

PAGE = "/account/data"


def bring(browser, value, name="chats.json"):
    """Upload a file; return the answer."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    # Written here: the test client would leave a large body open as a file.
    head = '--cut\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'.format("csrf_token", browser.token())
    head += f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    sent = {"Referer": "http://localhost/", "Content-Type": "multipart/form-data; boundary=cut"}
    return browser.client.post(f"{PAGE}/imports", data=head.encode() + data + b"\r\n--cut--\r\n", headers=sent)


def zipped(method=zipfile.ZIP_DEFLATED, **files):
    """Return a ZIP file. A name's two underscores stand for a dot, three for a slash."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            content = content if isinstance(content, (bytes, str)) else json.dumps(content)
            archive.writestr(name.replace("___", "/").replace("__", "."), content)
    return packed.getvalue()


def read(value, **bounds):
    """Return the chats of a file, read without an import, and what was counted on the way."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    intake = Intake(Bounds(**bounds), now())
    return list(reading.chats(unpacking.texts_of(io.BytesIO(data), intake), intake)), intake


def shown(chat):
    """Return what is said on the branch that is shown: (role, text) from the first on."""
    said, key, messages = [], chat.head_key, {message.key: message for message in chat.messages}
    while key is not None:
        said.append((messages[key].role, messages[key].content))
        key = messages[key].parent_key
    return said[::-1]


def gpt(*messages, **values):
    """Return a chat of ChatGPT's in one line."""
    mapping = {"root": {"parent": None, "message": None}}
    for number, message in enumerate(messages):
        mapping[f"n{number}"] = {"parent": f"n{number - 1}" if number else "root", "message": message}
    chat = {"title": "From afar", "create_time": 1_700_000_000.5, "conversation_id": "g1", "mapping": mapping}
    return chat | {"current_node": f"n{len(messages) - 1}"} | values


def says(role, kind, recipient="all", metadata=None, **content):
    message = {"author": {"role": role}, "recipient": recipient, "metadata": metadata or {}}
    return message | {"create_time": 1_700_000_001, "content": {"content_type": kind} | content}


def text(role, *parts, **values):
    return says(role, "text", parts=list(parts), **values)


def own(*messages, **values):
    """Return a file as it is exported here, with one chat in one line."""
    rows = [
        {"id": str(number), "parent_id": str(number - 1) if number else None, "role": "user"}
        | {"created_at": "2026-01-02T03:04:05Z", "content": "x"}
        | message
        for number, message in enumerate(messages)
    ]
    chat = {"id": "c1", "title": "Bread", "created_at": "2026-01-02T03:04:05Z", "messages": rows}
    return {"format": "chat-export", "version": 1, "chats": [chat | {"head_id": str(len(rows) - 1)} | values]}


def good(key="good"):
    return own({"content": "Hello"}, id=key, title=key)["chats"][0]
