"""Helpers: waiting for several thunks, sync verbs, the engine on the program's own loop."""
