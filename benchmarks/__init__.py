"""The cost of streaming, compared with a loop that one would write by hand."""
