"""Measurements with published results."""
