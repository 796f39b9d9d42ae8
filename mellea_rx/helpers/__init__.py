"""Small helpers around thunks and coroutines."""
