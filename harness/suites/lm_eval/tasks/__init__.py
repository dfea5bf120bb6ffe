"""Crucible's task files for lm-eval, and the functions they refer to."""
