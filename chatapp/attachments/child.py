"""Decodes one hostile file and exits: a program of its own, with limits on time and memory and no environment.

It is started by path (examine.py) and imports nothing of the product but the estimator, a file without dependencies.
The file arrives on standard input, the rules as JSON in the first argument. Standard output gets one line of JSON,
{"refused": reason} or the figures with the length of each part, then the parts' bytes one after another.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import signal
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

LIMITS = (
    (resource.RLIMIT_CPU, 10),
    (resource.RLIMIT_AS, 768 << 20),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NPROC, 0),
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_CORE, 0),
)
# A usual photo has 1 scan, a progressive one about 10. A JPEG of 300 kB can hold 3,000 and take 10 s to decode.
MOST_SCANS = 100
MOST_PNG_BYTES = 1 << 20
THUMB_SIDE = 256
# Text that is not extracted by then is left out.
EXTRACT_SECONDS = 5
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0e-\x1f\x7f]")
# EXIF's values for how a picture is turned, as names of Pillow's Transpose.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

Result = tuple[dict[str, Any], dict[str, bytes]]


class Refused(Exception):
    pass


def picture(data: bytes, rules: dict[str, Any]) -> Result:
    """Return an upright picture of bare pixels, no larger than the side, and its thumbnail."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # Only warns at first; ours decides.
    if rules["format"] == "JPEG" and data.count(b"\xff\xda") > MOST_SCANS:
        raise Refused("damaged")
    opened = Image.open(BytesIO(data), formats=(rules["format"],))
    # From the header: nothing is decoded yet.
    if opened.width * opened.height > rules["pixels"]:
        raise Refused("too_many_pixels")
    turn = _turn(opened)
    if rules["format"] == "JPEG":
        opened.draft("RGB", (rules["side"], rules["side"]))
    shown = _flat(opened)
    # Before turning it: less to turn.
    shown.thumbnail((rules["side"], rules["side"]), reducing_gap=2.0)
    if turn in TURNS:
        shown = shown.transpose(Image.Transpose[TURNS[turn]])
    # Only pixels go further: no place, no camera, no comment.
    bare = Image.frombytes("RGB", shown.size, shown.tobytes())
    content, media_type = _coded(bare, rules["format"] in ("PNG", "GIF"))
    bare.thumbnail((THUMB_SIDE, THUMB_SIDE), reducing_gap=2.0)
    figures = {"media_type": media_type, "width": shown.width, "height": shown.height}
    return figures, {"content": content, "thumb": _saved(bare, "JPEG", quality=80)}


def _turn(opened: Any) -> int:
    try:
        return int(opened.getexif().get(0x112, 1))
    except Exception:  # Broken metadata of a good picture.
        return 1


def _flat(opened: Any) -> Any:
    """Return a picture in RGB; what shines through is white."""
    from PIL import Image

    if "A" not in opened.getbands() and "transparency" not in opened.info:
        return opened.convert("RGB")
    clear = opened.convert("RGBA")
    white = Image.new("RGB", clear.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white


def _coded(bare: Any, may_be_png: bool) -> tuple[bytes, str]:
    if may_be_png and len(data := _saved(bare, "PNG")) <= MOST_PNG_BYTES:
        return data, "image/png"
    return _saved(bare, "JPEG", quality=85), "image/jpeg"


def _saved(bare: Any, format_name: str, **options: Any) -> bytes:
    out = BytesIO()
    bare.save(out, format_name, **options)
    return out.getvalue()


def pdf(data: bytes, rules: dict[str, Any]) -> Result:
    """Return a PDF's number of pages and its text. Its bytes stay as they are."""
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("locked")
    # Readers differ: one walks the tree, another believes what the tree says of itself. The larger one counts.
    tree: Any = reader.root_object["/Pages"].get_object()
    said = tree.get("/Count")
    pages = max(len(reader.pages), said if isinstance(said, int) else 0)
    if not len(reader.pages):
        raise Refused("damaged")
    if pages > rules["pages"]:
        raise Refused("too_many_pages")
    text = _extracted(reader, rules["chars"])
    figures = {"media_type": "application/pdf", "pages": pages, "characters": len(text)}
    return figures, {"text": text.encode()} if text.strip() else {}


def _extracted(reader: Any, most_chars: int) -> str:
    pieces: list[str] = []
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, EXTRACT_SECONDS)
    try:
        for number, page in enumerate(reader.pages, 1):
            if sum(map(len, pieces)) > most_chars:
                break
            try:
                words = page.extract_text()
            except TimeoutError:
                raise
            except Exception:  # One page that cannot be read.
                words = ""
            if words.strip():
                pieces.append(f"— page {number} —\n{words}\n")
    except TimeoutError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return _storable("\n".join(pieces))[:most_chars]


def _give_up(*_signal: Any) -> None:
    raise TimeoutError


def text(data: bytes, rules: dict[str, Any]) -> Result:
    """Return a text in UTF-8 with LF line ends and its estimated tokens."""
    words = _decoded(data)
    if "\0" in words or len(CONTROLS.findall(words)) * 100 > len(words):
        raise Refused("unknown")
    words = words.replace("\r\n", "\n").replace("\r", "\n")
    if not words.strip():
        raise Refused("blank")
    if len(words) > rules["chars"]:
        raise Refused("too_many_characters")
    tokens = _estimator(rules["estimator"]).calibrated(words)
    return {"media_type": "text/plain", "characters": len(words), "tokens": tokens}, {"content": words.encode()}


def _decoded(data: bytes) -> str:
    is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("unknown" if is_utf16 or b"\0" in data else "not_utf8") from None


def _storable(words: str) -> str:
    return words.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _estimator(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("estimate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READERS = {"image": picture, "pdf": pdf, "text": text}


def main() -> None:
    rules = json.loads(sys.argv[1])
    for what, most in LIMITS:
        resource.setrlimit(what, (most, most))
    sys.path.insert(0, str(Path(rules["packages"])))
    parts: dict[str, bytes] = {}
    try:
        figures, parts = READERS[rules["kind"]](sys.stdin.buffer.read(), rules)
        head = figures | {"parts": {name: len(part) for name, part in parts.items()}}
    except Refused as refused:
        head = {"refused": str(refused)}
    except Exception:
        head = {"refused": "damaged"}
    sys.stdout.buffer.write(b"".join((json.dumps(head).encode(), b"\n", *parts.values())))


if __name__ == "__main__":
    main()
