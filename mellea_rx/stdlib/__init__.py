"""The parts of programs: sessions, components, contexts, requirements, sampling, tools."""
