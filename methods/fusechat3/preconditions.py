"""What FuseChat-3.0 needs: sources that are truly better, and pairs that the rewards order rightly."""
