"""Trained text classifiers as systems that label authors."""
