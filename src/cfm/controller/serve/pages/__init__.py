"""The pages for people, which follow what goes on and need no script to be read.

Pure: the JSON of `explain` comes in, a page goes out as a tree of parts.  The strict policy of `web.answers`
allows nothing inline, so bars and pictures are SVG with attributes, and all looks are in `static/style.css`.
Neighbours: `html` makes sure that a name cannot be markup; here `frame`, `parts`, `cells`, `charts` and
`tables` are what the pages are made of.
"""

from cfm.controller.serve.pages.cells import file_path, names_of, server_path, time_of_day
from cfm.controller.serve.pages.file import file_page
from cfm.controller.serve.pages.frame import STATIC_TYPES, Page, document, static
from cfm.controller.serve.pages.lists import (
    backlog_page,
    deletes_page,
    history_page,
    refusal_page,
    search_page,
    settings_page,
)
from cfm.controller.serve.pages.overview import overview
from cfm.controller.serve.pages.server import EVENTS_SHOWN, server_page, servers_page

__all__ = [
    "EVENTS_SHOWN",
    "STATIC_TYPES",
    "Page",
    "backlog_page",
    "deletes_page",
    "document",
    "file_page",
    "file_path",
    "history_page",
    "names_of",
    "overview",
    "refusal_page",
    "search_page",
    "server_page",
    "server_path",
    "servers_page",
    "settings_page",
    "static",
    "time_of_day",
]
