"""cfm's JSON as a person reads it in a terminal: the status, the plan, one file's reasons, decisions.

Pure: takes values as `controller.explain` makes them and returns rich renderables, which read well from 80
columns on.  Neighbours: the commands in `cli` print these, `cli.demo` and `cli.watching` show them live.
"""

from cfm.cli.render.accept import accept_view
from cfm.cli.render.page import said
from cfm.cli.render.plan import confirm_view, plan_view
from cfm.cli.render.status import check_view, status_view
from cfm.cli.render.why import why_view
from cfm.cli.render.words import time_words
from cfm.controller.explain.sentences import event_words
from cfm.controller.explain.words import size_words

__all__ = [
    "accept_view",
    "check_view",
    "confirm_view",
    "event_words",
    "plan_view",
    "said",
    "size_words",
    "status_view",
    "time_words",
    "why_view",
]
