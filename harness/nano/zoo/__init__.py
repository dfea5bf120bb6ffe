"""The zoo: tiny models shipped with their weights, and the code that builds them from seeds."""

from harness.nano.zoo.shipped import build, digest, manifest, names, path

__all__ = ["build", "digest", "manifest", "names", "path"]
