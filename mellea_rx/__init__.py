"""Generative programs as observables."""
