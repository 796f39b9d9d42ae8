"""The core: frozen values, protocols, the engine, and streams of chunks."""
