"""Text while it streams, without I/O: units, wrappers around answers, placeholders."""
