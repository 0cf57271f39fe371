"""Tests, by layer: unit, rendering, functional, integration, kitchen, lab."""
