"""Which models are in memory, and who is served next."""
