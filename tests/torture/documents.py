"""PDFs made by hand, of a page whose content is small when packed."""

import zlib


def pdf(content: bytes, filters: str = "/FlateDecode", box: str = "0 0 100 100") -> bytes:
    """A document of one page. `content`: its operators, packed as `filters` say; `box`: its edges in points."""
    page = f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R /Resources << >> >>"
    stream = b"<< /Length %d /Filter %s >>\nstream\n%s\nendstream" % (len(content), filters.encode(), content)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page.encode(),
        stream,
    ]
    out, places = b"%PDF-1.7\n", []
    for number, written in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, written)
    entries = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 5\n0000000000 65535 f \n" + entries + end


def repeated(first: bytes, piece: bytes, count: int, last: bytes) -> bytes:
    """A page of `count` times the same operators, packed twice: a kilobyte for some hundred megabytes."""
    packer = zlib.compressobj(9)
    packed = packer.compress(first)
    for _ in range(count // 10_000):
        packed += packer.compress(piece * 10_000)
    return pdf(zlib.compress(packed + packer.compress(last) + packer.flush(), 9), "[/FlateDecode /FlateDecode]")
