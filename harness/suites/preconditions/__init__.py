"""Figures that say whether what a paper's effect needs was present in a run; see README.md."""
