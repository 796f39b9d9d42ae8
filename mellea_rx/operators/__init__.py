"""Operators on streams of chunks: each is curried, its arguments first, then the source."""
