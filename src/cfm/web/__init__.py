"""The hardened HTTP server on which both cfm and cfw answer.

aiohttp parses and routes.  This package adds what aiohttp does not do.  `server` binds, starts and stops.
`connections` decides which connections may stay, and for how long.  `middleware` checks each request before
its handler runs, and gives each refusal its form.  `authentication` asks for credentials where some are
configured.  `paths` reads a file name from a raw path.  `answers` builds the answers.  Handlers are plain
aiohttp handlers; they need not know about any of this.
"""

from cfm.web.answers import (
    REFUSALS_IN_OLD_FORM,
    RefusedError,
    empty,
    html_page,
    json_answer,
    old_json,
    old_json_bytes,
    old_text,
    problem,
)
from cfm.web.authentication import IDENTITY, AccessPolicy, asker_of, may_speak_for
from cfm.web.limits import Limits
from cfm.web.middleware import ON_UNAUTHORIZED, RefusalListener, may_be_browser
from cfm.web.paths import name_from_path
from cfm.web.server import STOPPING, WebServer, serve

__all__ = [
    "IDENTITY",
    "ON_UNAUTHORIZED",
    "REFUSALS_IN_OLD_FORM",
    "STOPPING",
    "AccessPolicy",
    "Limits",
    "RefusalListener",
    "RefusedError",
    "WebServer",
    "asker_of",
    "empty",
    "html_page",
    "json_answer",
    "may_be_browser",
    "may_speak_for",
    "name_from_path",
    "old_json",
    "old_json_bytes",
    "old_text",
    "problem",
    "serve",
]
