"""Measurements beside a peer in the same run; see docs/explanation/figures.md."""
