"""What programs are written with: sessions, components, contexts, requirements, sampling."""
