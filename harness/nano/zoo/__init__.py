"""The zoo: tiny real models, shipped with their weights, and how they are built from seeds."""

from harness.nano.zoo.shipped import build, digest, manifest, names, path

__all__ = ["build", "digest", "manifest", "names", "path"]
