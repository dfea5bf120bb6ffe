"""A board as a folder to publish: every score leads to its samples by a click.

pages      which samples share a page, and the address of every cell
index      the front page: the board with links, answer lengths and rank ranges
readme     README.md, with the front matter that a static space of the hub reads
folder     writing the folder as a whole, or not at all
"""

from leaderboards.site.folder import WRITTEN, Site, write_site

__all__ = ["WRITTEN", "Site", "write_site"]
