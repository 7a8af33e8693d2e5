"""Pages: every exhibit of a folder with its caption and table, methods and provenance, as HTML and as PDF."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

TITLE = "The paper's tables and figures"
_MOST_ROWS, _MOST_COLUMNS = 60, 20  # of a table on a page; larger ones are in their CSV alone
_WHAT = (
    "Networks were trained on PTB-XL-500, the measuring one on synthetic recordings too, and judged on LUDB, 200 "
    "people they never saw; sex also on PTB-XL patients kept out of the training. A map says which positions of a "
    "network's last layer contribute to a prediction; what a stretch of the ECG does to it is shown by edits. First "
    "stand the two exhibits that matter most: what the networks answer to known changes, and what the network adds to "
    "what was known of sex."
)


def exhibits_in(folder: Path) -> list[dict[str, str]]:
    """What `ecgwb.paper.keep` kept there, in the order of the names: ``name``, ``title``, ``caption``."""
    found = [json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))]
    return [about for about in found if "caption" in about]


def methods(provenance: dict[str, Any]) -> list[str]:
    """Paragraphs on how the numbers were made, with the parameters that were used."""
    used = provenance["parameters"]
    filters = used["filters"]
    said = filters if isinstance(filters, str) else "; ".join(f"{k} {v}" for k, v in filters.items())
    return [
        "Recordings are read in µV and resampled to 500 Hz. Filtering is the same for networks and measurements: "
        f"{said}. A recording becomes one representative beat, the median of its similar beats aligned by "
        "cross-correlation, 600 samples from -500 to +698 ms around the peak of the leads' root mean square within "
        "QRS. P, QRS and T are found in every lead by a network; for LUDB, by networks that had not seen the person. "
        "Global landmarks are the fifth earliest onset and fifth latest offset of twelve leads, or as many in "
        "proportion; their doubt is how leads and beats disagree, as one standard deviation.",
        "A network's attention is the signed ECGradCAM map in the target's own unit, whose mean over time plus a bias "
        "is the prediction. It is warped by the landmarks onto the cohort's median beat, piecewise linearly, and "
        "averaged over people. Beats are edited by known amounts, and measured anew, to see what a stretch of the ECG "
        "does.",
        f"Intervals hold {100 * used['interval']:.0f} % and come from {used['bootstrap resamples']} bootstrap samples "
        "of patients, not of records, with fixed seeds; people are split by patient. Features and regressions are "
        "fitted on discovery patients and judged, unchanged, on others.",
        f"The paper: {provenance['method']}.",
    ]


def shown_table(folder: Path, name: str) -> pd.DataFrame | None:
    """An exhibit's numbers as they are read on a page, three digits each; None where they would fill pages."""
    table = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
    if len(table) > _MOST_ROWS or table.shape[1] > _MOST_COLUMNS or table.map(len).to_numpy().max(initial=0) > 600:
        return None
    return table.rename(columns=lambda c: "" if str(c).startswith("Unnamed") else str(c).replace("_", " ")).map(_read)


def _read(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    if not np.isfinite(value) or value == int(value):
        return text if np.isfinite(value) and abs(value) < 1e6 and "." not in text else text.removesuffix(".0")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


# ---------------------------------------------------------------- HTML

_HEAD = f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ecgwb: {TITLE.lower()}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}}
figure{{margin:2.5rem 0}}img{{max-width:100%;border:1px solid #ddd}}figcaption{{color:#444}}h2{{margin:0 0 .4rem}}
code,pre{{font-size:13px}}pre{{background:#f6f6f6;padding:1rem;overflow:auto}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;font-size:13px}}th,td{{text-align:right;padding:.1rem .6rem;
border-bottom:1px solid #eee}}td:first-child,th:first-child{{text-align:left}}summary{{cursor:pointer}}</style>"""


def html_page(folder: Path, notebooks: list[str], pdf: bool) -> str:
    """The page; figures and files are beside it."""
    parts = [_HEAD, f"<h1>{TITLE}</h1>", f"<p>{_WHAT}</p>"]
    links = ", ".join(f'<a href="{n}.html">{n}</a>' for n in notebooks)
    parts.append(f"<p>Made by the notebooks {links}." + (' <a href="paper.pdf">As PDF</a>.' if pdf else "") + "</p>")
    for about in exhibits_in(folder):
        name, title, caption = about["name"], html.escape(about["title"]), html.escape(about["caption"])
        files = " · ".join(f'<a href="{name}.{kind}">{kind.upper()}</a>' for kind in ("pdf", "png", "csv"))
        table = shown_table(folder, name)
        numbers = "" if table is None else table.to_html(index=False, border=0)
        rows = f"<details><summary>numbers</summary><div class=wide>{numbers}</div></details>" if numbers else ""
        parts.append(
            f'<figure id="{name}"><h2>{title}</h2><img src="{name}.png" alt="{title}">'
            f"<figcaption>{caption}<br>{files}</figcaption>{rows}</figure>"
        )
    found = json.loads((folder / "provenance.json").read_text())
    parts.append("<h2>Methods</h2>" + "".join(f"<p>{html.escape(p)}</p>" for p in methods(found)))
    parts.append(f"<h2>Provenance</h2><pre>{html.escape((folder / 'provenance.json').read_text())}</pre></html>")
    return "\n".join(parts)


# ---------------------------------------------------------------- PDF


def pdf_page(folder: Path) -> Path:
    """The same as ``paper.pdf``, A4: text and tables set by ReportLab, the figures' own PDFs put in as they are.

    Figures stay vector graphics at journal width, with their fonts embedded.

    Raises
    ------
    ModuleNotFoundError
        Without reportlab and pypdf, which come with the extra `lab`.
    """
    from pypdf import PdfReader, PdfWriter, Transformation
    from reportlab.lib.colors import HexColor
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.platypus import CondPageBreak, Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for font, file in (("Text", "DejaVuSans.ttf"), ("Bold", "DejaVuSans-Bold.ttf"), ("Code", "DejaVuSansMono.ttf")):
        pdfmetrics.registerFont(TTFont(font, fonts / file))
    text = ParagraphStyle("text", fontName="Text", fontSize=8.5, leading=12, spaceAfter=5)
    caption = ParagraphStyle("caption", text, fontSize=7.5, leading=10.5, textColor=HexColor("#333333"))
    heading = ParagraphStyle("heading", text, fontName="Bold", fontSize=11, leading=14, spaceBefore=4, spaceAfter=4)
    cell = ParagraphStyle("cell", text, fontSize=6, leading=7.4, spaceAfter=0)
    small = ParagraphStyle("small", cell, fontSize=4.6, leading=5.8)
    code = ParagraphStyle("code", text, fontName="Code", fontSize=5.6, leading=7.4, spaceAfter=0)
    margin = 15 * mm
    width, height = A4[0] - 2 * margin, A4[1] - 2 * margin - 10 * mm
    placed: list[tuple[int, float, float, float, Path]] = []

    class Place(Flowable):
        """Room for a figure's own PDF; where it came to lie is noted."""

        def __init__(self, file: Path) -> None:
            super().__init__()
            box = PdfReader(file).pages[0].mediabox
            self.file = file
            self.scale = min(1.0, width / float(box.width), (height - 48 * mm) / float(box.height))
            self.width, self.height = float(box.width) * self.scale, float(box.height) * self.scale

        def draw(self) -> None:
            x, y = self.canv.absolutePosition(0, 0)
            placed.append((self.canv.getPageNumber() - 1, x, y, self.scale, self.file))

    def grid(table: pd.DataFrame) -> Table:
        style = small if table.shape[1] > 14 else cell
        # A heading may be broken between words, a number never.
        longest = np.array([max([*map(len, str(c).split()), *table[c].map(len)]) for c in table.columns]) + 1.0
        rows = [[Paragraph(f"<b>{html.escape(str(c))}</b>", style) for c in table.columns]]
        rows += [[Paragraph(html.escape(v), style) for v in r] for r in table.to_numpy(str)]
        lines = [("LINEBELOW", (0, 0), (-1, -1), 0.2, HexColor("#cccccc")), ("VALIGN", (0, 0), (-1, -1), "TOP")]
        lines += [(f"{side}PADDING", (0, 0), (-1, -1), 1.2) for side in ("TOP", "BOTTOM", "LEFT", "RIGHT")]
        wanted = longest * 0.64 * style.fontSize + 2.4  # points
        if wanted.sum() > width:  # the widest column is broken into lines, the others are not
            wanted[wanted.argmax()] = max(width - np.delete(wanted, wanted.argmax()).sum(), 60)
        return Table(rows, list(wanted * min(1.0, width / wanted.sum())), repeatRows=1, style=lines, hAlign="LEFT")

    provenance = json.loads((folder / "provenance.json").read_text())
    story: list[Any] = [Paragraph(TITLE, ParagraphStyle("title", heading, fontSize=17, leading=22, spaceAfter=8))]
    story.append(Paragraph(html.escape(_WHAT), text))
    for about in exhibits_in(folder):
        name, figure = about["name"], Place(folder / f"{about['name']}.pdf")
        story += [CondPageBreak(figure.height + 24 * mm), Paragraph(html.escape(about["title"]), heading), figure]
        story += [Spacer(1, 4), Paragraph(f"{html.escape(about['caption'])} Numbers: {name}.csv.", caption)]
        table = shown_table(folder, name)
        story += [Spacer(1, 2), grid(table)] if table is not None else []
        story.append(Spacer(1, 12))
    story += [
        PageBreak(),
        Paragraph("Methods", heading),
        *(Paragraph(html.escape(p), text) for p in methods(provenance)),
    ]
    story += [Spacer(1, 6), Paragraph("Provenance", heading)]
    for key, value in provenance.items():
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        story += [Paragraph(f"<b>{html.escape(key)}</b> {html.escape(told)}", code), Spacer(1, 3)]

    def foot(canvas: Any, _document: Any) -> None:
        canvas.setFont("Text", 7)
        canvas.drawRightString(A4[0] - margin, 8 * mm, f"{canvas.getPageNumber()}")

    page = folder / "paper.pdf"
    bare = folder / "paper.tmp"
    SimpleDocTemplate(
        str(bare), pagesize=A4, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
        title=f"ecgwb: {TITLE.lower()}", invariant=1,
    ).build(story, onFirstPage=foot, onLaterPages=foot)  # fmt: skip
    writer = PdfWriter(clone_from=bare)
    for number, x, y, scale, own in placed:
        how = Transformation().scale(scale).translate(x, y)
        writer.pages[number].merge_transformed_page(PdfReader(own).pages[0], how)
    writer.compress_identical_objects()
    writer.write(page)
    bare.unlink()
    return page
