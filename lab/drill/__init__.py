"""Drills: inject one fault under load and measure its effect on a client at the virtual IP."""
