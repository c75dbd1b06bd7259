"""cfm's HTTP endpoints, put together: the old ones to the letter, ours beside them (see `docs/http-api.md`).

Neighbours: `web` is the hardened server underneath; `worker_api`, `page_api`, `json_api` and
`operator_api` answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from cfm.controller.act.loop import Controller
from cfm.controller.act.own_settings import OwnSettings
from cfm.controller.act.teller import Teller
from cfm.controller.decide.core import Core
from cfm.controller.explain import report
from cfm.controller.serve.json_api import JsonEndpoints
from cfm.controller.serve.metrics import ControllerMetrics
from cfm.controller.serve.operator_api import HandOver, OperatorEndpoints, nobody_else
from cfm.controller.serve.page_api import PageEndpoints, refusals_as_pages
from cfm.controller.serve.strangers import Strangers
from cfm.controller.serve.worker_api import WorkerEndpoints
from cfm.model import Now
from cfm.security import Role
from cfm.web import ON_UNAUTHORIZED, AccessPolicy, Limits

_OPERATOR = frozenset({Role.OPERATOR})
_WORKER = frozenset({Role.WORKER})
ACCESS_POLICY = AccessPolicy(
    public=frozenset({"/healthz", "/readyz"}),
    allowed={
        ("GET", "/tasks/next"): _WORKER,
        ("PATCH", "/tasks/{id}"): _WORKER,
        ("DELETE", "/tasks/{id}"): _OPERATOR,
        ("POST", "/api/v1/confirm"): _OPERATOR,
        ("POST", "/api/v1/confirm/{server}"): _OPERATOR,
        ("POST", "/api/v1/metadata/{id}"): _OPERATOR,
        ("POST", "/api/v1/reload"): _OPERATOR,
        ("POST", "/api/v1/handover"): _OPERATOR,
    },
    programs=frozenset({("GET", "/tasks"), ("GET", "/tasks/next"), ("PATCH", "/tasks/{id}")}),
)
"""Who may do what here, where credentials are configured.  A worker may do it with its own tasks only."""


class ControllerApi:
    """The endpoints over one controller."""

    def __init__(
        self,
        controller: Controller,
        metrics: ControllerMetrics,
        teller: Teller,
        settings: OwnSettings,
        identity: Mapping[str, str],
        credentials: Mapping[str, Any] | None = None,
        leadership: Callable[[Now], Mapping[str, Any] | None] = lambda _now: None,
        hand_over: HandOver = nobody_else,
    ):
        """`identity`: the headers that tell a worker whose controller this is.  `credentials`: what the
        status says about credentials (see `security.status_of`).  `leadership`: what it says about who of
        several cfm leads; None for the only one.  `hand_over`: lets another one lead."""
        self._controller = controller
        self._leadership = leadership
        self._credentials = dict(credentials or {})
        self._strangers = Strangers(controller)
        self._endpoints = (
            WorkerEndpoints(controller, identity),
            PageEndpoints(controller, teller, settings, self._status),
            JsonEndpoints(controller, metrics, teller, self._status),
            OperatorEndpoints(controller, teller, settings, hand_over),
        )

    def application(self) -> web.Application:
        app = web.Application(client_max_size=Limits().body_bytes, middlewares=[refusals_as_pages])
        app[ON_UNAUTHORIZED] = self._strangers
        for endpoints in self._endpoints:
            app.add_routes(endpoints.routes())
        return app

    def _status(self, core: Core, now: Now) -> dict[str, Any]:
        return {
            **report.status_json(core, now),
            "progress": [one.as_json() for one in self._controller.progress()],
            **self._credentials,
            "leadership": self._leadership(now),
        }
