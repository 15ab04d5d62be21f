"""The HTTP server: a shell that no client can harm, and behind it the routes. It loads no model and no libllama."""
