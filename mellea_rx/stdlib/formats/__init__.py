"""Formats: types of answers, out of Python types and JSON schemas."""

from mellea_rx.core.format import OutputFormat
from mellea_rx.stdlib.formats.build import as_format

__all__ = ["OutputFormat", "as_format"]
