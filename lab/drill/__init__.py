"""Drills: break one thing on purpose, under load, and measure what a client at the virtual address saw of it."""
