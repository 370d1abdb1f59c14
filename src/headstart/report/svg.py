"""Figures inside a page: SVG whose text and axes take the colour of the page, and whose lines its palette."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from headstart.plotting import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline(figure: Figure, name: str, title: str, description: str, ink: str) -> str:
    """An `<svg>` element. name: prefix of its ids, unique in the page. ink: the colour that becomes the text's; those
    of the palette become the page's `--series-1`, `--series-2`, ...

    Text stays text: it can be selected, read aloud and takes the page's font.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format"))
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(ink, "currentColor")
    for i, colour in enumerate(COLOURS, 1):
        svg = svg.replace(colour, f"var(--series-{i})")
    svg = re.sub(r"font: (\d[\d.]*px) [^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    # The width is the page's business.
    start, end = svg.index("<svg"), svg.index(">")
    box = re.search(r'viewBox="[^"]*"', svg[start:end]).group()
    head = (
        f'<svg {box} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    return head + svg[end + 1 :].strip()
