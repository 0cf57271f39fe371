"""Drills: break one thing on purpose, under load, and measure what a client at the virtual IP saw of it."""
