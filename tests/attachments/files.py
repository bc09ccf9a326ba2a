"""Files as people and attackers send them, made here: none lies in the repository."""

from io import BytesIO

from PIL import Image
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject

SECRET_PLACE = b"SECRET-COMMENT"


def picture(format_name="JPEG", size=(60, 40), **options):
    out = BytesIO()
    # Left red, right blue: a test sees how it is turned.
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    image.save(out, format_name, **options)
    return out.getvalue()


def photo(size=(4000, 3000), turn=6):
    """A photo with its place, a comment, and a mark that it stands on its side."""
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = turn, "SECRET-CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    return picture(size=size, exif=exif, comment=SECRET_PLACE)


def opened(data):
    return Image.open(BytesIO(data))


def header_only(width, height):
    """A PNG that claims a size, without pixels worth it."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def many_scans():
    """A JPEG of few pixels and of scans without end."""
    data = picture(progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * 3000 + data[-2:]


def pdf(pages=3, text="Hello world", count=None, password=None, **options):
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for _ in range(pages):
        page = writer.add_blank_page(200, 200)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    if count is not None:
        writer.root_object["/Pages"].get_object()[NameObject("/Count")] = NumberObject(count)
    if password is not None:
        writer.encrypt(**({"user_password": password, "algorithm": "AES-256"} | options))
    out = BytesIO()
    writer.write(out)
    return out.getvalue()
