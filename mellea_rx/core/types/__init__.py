"""Frozen values that flow through a call, from options and requests to chunks and events."""
