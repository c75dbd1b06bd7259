"""The answer to a worker's `GET /api/openapi.json`.  `docs/http-api.md` says the same for people.

It is written by hand: the endpoints are few, and no framework could derive the old forms.  A test compares
the paths with the routes.
"""

from __future__ import annotations

from typing import Any, Final

from cfm import __version__, wire

_PROBLEM: Final = {
    "description": "Refused.",
    "content": {wire.PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_TEXTS: Final = {
    200: "Done.",
    206: "The range that was asked for.",
    wire.IM_USED: "What came and went since the list that the asker has.",
    304: "The list has not changed.",
    400: "This is not a file name, or the request has a query that is not allowed.",
    404: "There is no such file.",
    406: "This is not a plain file.",
    409: "Not our controller, an old epoch, an order that is overtaken or for another folder, or a task that "
    "was ended.",
    416: "The file has no such range.",
    500: "The disk does not answer, or has lost its marker.",
    503: "All stream slots are taken.",
}


def _parameter(name: str, where: str, text: str, *, required: bool = False) -> dict[str, Any]:
    kind = {"type": "string"}
    return {"name": name, "in": where, "required": required, "schema": kind, "description": text}


def _operation(
    summary: str, *statuses: int, parameters: tuple[dict[str, Any], ...] = (), content: str | None = None
) -> dict[str, Any]:
    answers: dict[str, Any] = {str(status): {"description": _TEXTS[status]} for status in statuses}
    if content is not None:
        answers["200"] = {"description": summary, "content": {content: {}}}
    return {"summary": summary, "parameters": list(parameters), "responses": answers}


_NAME: Final = _parameter("name", "path", "A file's name, percent-encoded.", required=True)
_TASK: Final = _parameter("task", "path", "A task's id.", required=True)
_CLAIM: Final = (
    _parameter(wire.CONTROLLER, "header", "The id of the controller that gives the order."),
    _parameter(wire.EPOCH, "header", "Its epoch, an integer."),
)
_READING: Final = (
    _NAME,
    _parameter("in", "query", "`base`: look in base_dir only."),
    _parameter(wire.TASK, "header", "The task on whose behalf the file is read."),
    _parameter("Range", "header", "One range of bytes."),
    _parameter("If-Range", "header", "The ETag that the range is of."),
    _parameter("Want-Repr-Digest", "header", "`xxh3-128=1`: answer with the checksum."),
)

_OCTETS: Final = "application/octet-stream"
_JSON: Final = "application/json"

DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "cfw", "version": __version__, "description": "A worker of the center file manager."},
    "paths": {
        "/hb": {"get": _operation("The worker lives. The headers say what it can do.", 200)},
        "/files": {
            "get": _operation(
                "The names of all plain files, one on each line, in byte order; or the difference (226).",
                *(200, wire.IM_USED, 304, 409, 500),
                parameters=(
                    *_CLAIM,
                    _parameter("If-None-Match", "header", "The list that the asker has."),
                    _parameter(wire.ACCEPTS_MANIPULATION, "header", "`cfm-names`: the difference to it."),
                    _parameter(wire.FENCE, "header", "Refuse deletes below this order."),
                    _parameter(wire.SOURCE_FOLDER, "header", "The worker's disk is this source folder."),
                    _parameter(wire.LEADER, "header", "The one of several cfm that leads in that epoch."),
                ),
                content=wire.OLD_TEXT,
            )
        },
        "/df": {"get": _operation("The disk's usage.", 200, 500, content=wire.OLD_JSON)},
        "/files/{name}": {
            "delete": _operation(
                "Delete a file.",
                *(200, 400, 404, 406, 409, 500),
                parameters=(
                    _NAME,
                    *_CLAIM,
                    _parameter(wire.ORDER, "header", "The order's id."),
                    _parameter(wire.PROBED, "header", "Only in the folder that has this probe file."),
                ),
            )
        },
        "/content/{name}": {
            "get": _operation(
                "A file of the source folders, or of base_dir.",
                *(200, 206, 400, 404, 409, 416, 500, 503),
                parameters=_READING,
                content=_OCTETS,
            ),
            "head": _operation(
                "The headers of a file, without its content.",
                *(200, 400, 404, 409, 500),
                parameters=_READING,
                content=_OCTETS,
            ),
        },
        "/streams/{task}": {
            "delete": _operation(
                "End a task's stream, and refuse its later reads.",
                *(200, 400, 409, 500),
                parameters=(_TASK, *_CLAIM),
            )
        },
        "/release": {
            "post": _operation(
                "Forget the controller: asked from this machine, or by that controller.",
                *(200, 409),
                parameters=_CLAIM,
                content=_JSON,
            )
        },
        "/healthz": {"get": _operation("How the worker is.", 200, content=_JSON)},
        "/metrics": {"get": _operation("Figures for Prometheus.", 200, content="text/plain")},
        "/api/openapi.json": {"get": _operation("This document.", 200, content=_JSON)},
    },
    "components": {
        "schemas": {
            "Problem": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        },
        "responses": {"Problem": _PROBLEM},
    },
}
