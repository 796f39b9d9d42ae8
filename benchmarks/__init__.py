"""What streaming costs, measured against the loop that one would write by hand."""
