"""Stands in for the build system of the pinned archive, which is only looked into and never built (see fetch.py)."""
