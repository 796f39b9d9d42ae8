"""Protocols of backends, components, contexts and sampling strategies."""
