"""The pipeline of one call: render, generate, validate, and try again."""
