"""Text into words, sentences, lines and paragraphs while it comes; no I/O. See `splitter`."""

from mellea_rx.core.units import Splitter, Unit, splitter

__all__ = ["Splitter", "Unit", "splitter"]
