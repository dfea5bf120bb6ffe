"""Plots of boards: what they show (`charts`, no drawing library) and their drawing (`drawing`)."""
