"""Schedules and their analysis as one HTML page that needs nothing else: no network, no script, no font.

`render_page` puts it together; what is said, shown and tabulated is made by the modules of this package. Everything
that comes from a schedule is escaped, and the page forbids itself to load or run anything.
"""

from topokit.page.render import PageEntry, render_page, save_page

__all__ = ["PageEntry", "render_page", "save_page"]
