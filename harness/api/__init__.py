"""What `from harness import evaluate, reproduce, board, judge, compare` offers."""
