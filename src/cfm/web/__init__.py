"""The hardened HTTP server on which both cfm and cfw answer.

aiohttp parses and routes; what is around it is here.  `server` binds, starts and stops; `door` decides
which connections may stay and for how long; `gate` looks at each request before its handler does, and
gives each refusal its shape; `paths` reads a file name out of a raw path; `answers` builds the answers.
Handlers are plain aiohttp handlers, and know nothing of all this.
"""

from cfm.web.answers import (
    REFUSALS_IN_OLD_FORM,
    RefusedError,
    empty,
    html_page,
    json_answer,
    old_json,
    old_text,
    problem,
)
from cfm.web.limits import Limits
from cfm.web.paths import name_from_path
from cfm.web.server import STOPPING, WebServer, serve

__all__ = [
    "REFUSALS_IN_OLD_FORM",
    "STOPPING",
    "Limits",
    "RefusedError",
    "WebServer",
    "empty",
    "html_page",
    "json_answer",
    "name_from_path",
    "old_json",
    "old_text",
    "problem",
    "serve",
]
