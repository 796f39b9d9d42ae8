"""Formats: types of answers, made of Python types and JSON schemas by `as_format`."""

from mellea_rx.core.format import OutputFormat
from mellea_rx.stdlib.formats.build import as_format

__all__ = ["OutputFormat", "as_format"]
