"""Streams of chunks: broadcasts, subscriptions, readers, sources, and the thunk."""
