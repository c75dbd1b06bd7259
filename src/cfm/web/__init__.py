"""The hardened HTTP server on which both cfm and cfw answer.

aiohttp parses and routes; what is around it is here.  `server` binds, starts and stops; `door` decides
which connections may stay and for how long; `gate` looks at each request before its handler does, and
gives each refusal its shape; `porter` asks for credentials where some are configured; `paths` reads a file
name out of a raw path; `answers` builds the answers.  Handlers are plain aiohttp handlers, and know nothing
of all this.
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
from cfm.web.authentication import IDENTITY, Doors, may_speak_for
from cfm.web.limits import Limits
from cfm.web.paths import name_from_path
from cfm.web.server import STOPPING, WebServer, serve

__all__ = [
    "IDENTITY",
    "REFUSALS_IN_OLD_FORM",
    "STOPPING",
    "Doors",
    "Limits",
    "RefusedError",
    "WebServer",
    "empty",
    "html_page",
    "json_answer",
    "may_speak_for",
    "name_from_path",
    "old_json",
    "old_text",
    "problem",
    "serve",
]
