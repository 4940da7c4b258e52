"""The board as one HTML file that needs nothing else: no network, no server, no other file.

Templates escape everything by default. Style and script stand in the page, named by their hashes in
its content security policy; nothing else may run. The same board gives the same bytes.
"""

from flowbench.leaderboard.render.html.page import render, render_index

__all__ = ["render", "render_index"]
