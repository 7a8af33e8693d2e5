"""XML that anybody may have written: no entity is expanded, nothing else is opened, memory is bounded."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from .pieces import content, error

_MARKS = (  # byte order marks, and how "<" begins a file without one
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]{1,40})["']""")
_NO_CHARACTERS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MOST_ELEMENTS, _DEEPEST = 100_000, 100
_BYTES_AN_ELEMENT = 8  # fewer, over a whole file, is no record: "<a/>" by the million would take 50 times their size


def decoded(data: bytes, errors: str = "strict") -> str:
    """The text of an XML file in any encoding; what declares itself wrongly is read as UTF-8, then as Windows-1252."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace" if errors == "strict" else errors)
    declared = _DECLARED.match(data)
    for encoding in (*([declared[1].decode("ascii")] if declared else []), "utf-8", "cp1252"):
        try:
            if not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32", "utf-7", "unicode", "raw", "punycode")):
                return data.decode(encoding, errors)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


def root_of(head: bytes) -> str:
    """The name of an XML file's first element in lower case, by its first bytes; "" where it is no XML."""
    text = decoded(head, "ignore").lstrip("\ufeff \t\r\n")
    while text.startswith(("<?", "<!")):
        if text.startswith("<!--"):
            end = text.find("-->")
        elif text.startswith("<?"):
            end = text.find("?>")
        else:  # a DOCTYPE, which may hold declarations in brackets
            bracket, end = text.find("["), text.find(">")
            end = text.find("]", bracket) if 0 <= bracket < end else end
            end = text.find(">", end) if end >= 0 else end
        if end < 0:
            return ""
        text = text[text.index(">", end) + 1 :].lstrip()
    found = re.match(r"<(?:[\w.-]{1,60}:)?([A-Za-z_][\w.-]{0,60})[\s>/]", text)
    return found[1].lower() if found else ""


def has_root(name: str) -> Callable[[Path, bytes], bool]:
    """Whether a file is an XML whose first element is called so."""
    return lambda path, head: b"<" in head[:64] and root_of(head) == name


def parse(path: Path) -> Element:
    """The tree of an XML file; all names are in lower case and without namespace.

    Raises
    ------
    RecordError
        When it is no XML, is cut short, declares entities, or has elements without number or end.
    """
    data = content(path)
    most = min(_MOST_ELEMENTS, len(data) // _BYTES_AN_ELEMENT + 100)
    builder, depth, count = TreeBuilder(), 0, 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _DEEPEST or count > most:
            raise error(path, f"its XML has more than {_DEEPEST if depth > _DEEPEST else most} elements; no ECG has")
        builder.start(_plain(name), {_plain(k): v for k, v in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_plain(name))

    def refuse(*declared: object) -> None:
        raise error(path, "its XML declares entities, which an ECG needs not and which may be an attack; not read")

    text = _NO_CHARACTERS.sub(" ", decoded(data)).lstrip("\ufeff \t\r\n")
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    for handler in ("EntityDeclHandler", "UnparsedEntityDeclHandler", "ExternalEntityRefHandler"):
        setattr(parser, handler, refuse)
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
        return builder.close()
    except expat.ExpatError as e:
        where = f"line {e.lineno}: {expat.ErrorString(e.code)}"
        raise error(path, f"its XML is damaged or cut short ({where}); fetch the file again") from None


def _plain(name: str) -> str:
    return name.rpartition(":")[2].lower()


def text_of(element: Element | None, place: str = "") -> str:
    """The text of an element, or of what lies at a place under it, trimmed; "" where there is none."""
    return " ".join(raw_text(element, place).split())


def raw_text(element: Element | None, place: str = "") -> str:
    """`text_of` as it stands, for samples."""
    found = element.find(place) if element is not None and place else element
    return "" if found is None else "".join(found.itertext())


def attribute(element: Element | None, name: str, place: str = "") -> str:
    """An attribute of an element, or of what lies at a place under it; "" where there is none."""
    found = element.find(place) if element is not None and place else element
    return "" if found is None else found.get(name, "").strip()


def words_of(*elements: Element | None, but: tuple[str, ...] = ()) -> Iterator[str]:
    """All text and attributes under elements: what `clinical` must not let through."""
    for element in elements:
        for x in element.iter() if element is not None else ():
            if x.tag not in but:
                yield x.text or ""
                yield from x.attrib.values()


def from_base64(text: str) -> bytes | None:
    """The bytes of a text in Base64; None where it is none."""
    try:
        return base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError):
        return None


def from_digits(text: str) -> np.ndarray | None:
    """The numbers of a text; None where it holds something else."""
    try:
        return np.fromiter((float(m.group()) for m in re.finditer(r"[^\s,;]+", text)), np.float64)
    except ValueError:
        return None
