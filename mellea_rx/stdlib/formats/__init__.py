"""Formats: types of answers, made of Python types and JSON schemas by `as_format`."""

from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.stdlib.formats.as_format import as_format

__all__ = ["OutputFormat", "as_format"]
