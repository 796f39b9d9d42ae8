"""The chart in the README: what a chunk costs each client, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "Panel", "svg"]

WIDTH, LABEL, FIGURE, BAR, GAP, HEAD = 760, 200, 70, 18, 8, 44
_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-weight: 600; font-size: 14px }
    .note { fill: #57606a; font-size: 12px }
    .peer { fill: #afb8c1 } .hand { fill: #6e7781 } .ours { fill: #1a7f64 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .note { fill: #8d96a0 }
      .peer { fill: #57606a } .hand { fill: #8b949e } .ours { fill: #3fb68b }
    }
"""


@dataclass(frozen=True)
class Bar:
    """One client.

    Attributes:
        label: Whose it is.
        value: Its figure.
        kind: "ours", "hand" or "peer".
    """

    label: str
    value: float
    kind: str


@dataclass(frozen=True)
class Panel:
    """Bars under a title; the longest takes the whole width."""

    title: str
    note: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        """In pixels."""
        return HEAD + len(self.bars) * (BAR + GAP) + GAP


def svg(panels: Sequence[Panel]) -> str:
    """All panels, one below the other."""
    height = sum(panel.height for panel in panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"  <title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f"  <style>{_STYLE}  </style>",
    ]
    top = 0
    for panel in panels:
        lines += _panel(panel, top)
        top += panel.height
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int) -> list[str]:
    most = max(bar.value for bar in panel.bars)
    lines = [
        f'  <text class="title" x="0" y="{top + 18}">{escape(panel.title)}</text>',
        f'  <text class="note" x="0" y="{top + 35}">{escape(panel.note)}</text>',
    ]
    for place, bar in enumerate(sorted(panel.bars, key=lambda each: each.value)):
        y = top + HEAD + place * (BAR + GAP)
        width = max(1.0, bar.value / most * (WIDTH - LABEL - FIGURE))
        lines += [
            f'  <text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>',
            f'  <rect class="{bar.kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
            f'  <text x="{LABEL + width + 6:.1f}" y="{y + 14}">{bar.value:.1f}</text>',
        ]
    return lines
