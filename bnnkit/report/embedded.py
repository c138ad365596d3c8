"""Pictures of a run inside the page."""

from __future__ import annotations

import base64

from bnnkit.report.contents import Picture
from bnnkit.report.markup import Markup, element

LARGEST, SMALLEST = 0.68, 0.45
"""Of a picture's size: pictures are drawn for paper, and below the smallest their text cannot be read: they scroll."""


def figure(picture: Picture, alternative: str) -> Markup:
    """Return a picture as a part of the page, its bytes included.

    Args:
        alternative: what it shows, in words.
    """
    content = base64.b64encode(picture.content).decode()
    image = element(
        "img",
        src=f"data:image/png;base64,{content}",
        alt=alternative,
        width=picture.width,
        height=picture.height,
        style=f"max-width:{LARGEST * picture.width:.0f}px;min-width:{SMALLEST * picture.width:.0f}px",
    )
    frame = element("div", image, class_="scroll", tabindex="0", role="region", aria_label=alternative)
    return element("figure", frame, element("figcaption", picture.path.name), class_="picture")
