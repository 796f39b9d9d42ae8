"""Prompts: templates, the history of a context, and requests made of both."""
