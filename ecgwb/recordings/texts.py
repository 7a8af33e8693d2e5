"""Texts of whatever encoding: headers and tables as programs of all times and places write them."""

from __future__ import annotations

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decoded(data: bytes, cut: bool = False) -> tuple[str, str]:
    """A text and its encoding: UTF-8 or UTF-16, with a mark or without, or else Latin-1, which fits anything.

    Parameters
    ----------
    data : bytes
    cut : bool
        Whether it is but the beginning of a text, which may end within a letter.

    Returns
    -------
    text, encoding : str
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "ignore"), encoding
    even, odd = data[:1000:2].count(0), data[1:1000:2].count(0)
    if max(even, odd) > len(data[:1000]) / 4:  # every other byte of Western text is 0
        encoding = "utf-16-be" if even > odd else "utf-16-le"
        return data.decode(encoding, "ignore"), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as e:
        if cut and e.start > len(data) - 4:
            return data[: e.start].decode("utf-8"), "utf-8"
        return data.decode("latin-1"), "latin-1"
