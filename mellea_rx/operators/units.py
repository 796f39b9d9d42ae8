"""Incremental splitters of text into words, sentences, lines and paragraphs. See `splitter`."""

from mellea_rx.core.units import Splitter, Unit, splitter

__all__ = ["Splitter", "Unit", "splitter"]
