"""Reynard's routes under `/api/diffusion`, with the shapes that its document and its clients have."""
