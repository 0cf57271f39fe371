"""Tests, by layer: unit, rendering, traffic, functional, integration, kitchen, lab."""
