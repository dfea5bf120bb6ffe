"""Task files of ours for lm-eval, and the functions they name."""
