"""cfm's OpenAPI document: what tools and clients need to know about the endpoints."""

from __future__ import annotations

from typing import Any, TypeAlias

from cfm import __version__

Json: TypeAlias = dict[str, Any]

_PROBLEM = {
    "description": "what is wrong",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
_SERVER = {"name": "server", "in": "path", "required": True, "schema": {"type": "string"}}
_PAIR = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


_ADDR = {"name": "addr", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_CHECK = {"name": "check", "in": "query", "schema": {"type": "boolean"}}


def _number(name: str, least: int, most: int) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "integer", "minimum": least, "maximum": most}}


_PAGE = [_number("offset", 0, 2**31), _number("limit", 1, 200)]
_TEXT = {"name": "q", "in": "query", "schema": {"type": "string"}}
_HISTORY = [
    {"name": "about", "in": "query", "schema": {"type": "string"}},
    _number("before", 0, 2**63 - 1),
    _number("limit", 1, 200),
]


def _json(description: str, kind: str = "object") -> Json:
    return {"description": description, "content": {"application/json": {"schema": {"type": kind}}}}


def _plain(description: str) -> Json:
    return {"description": description}


def _get(summary: str, answers: Json, parameters: list[Json] | None = None) -> Json:
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": answers}}


_LISTING = {"200": _json("a server and a page of its files"), "400": _PROBLEM, "404": _PROBLEM}


def document() -> Json:
    """The whole document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "cfm", "version": __version__, "description": "See docs/http-api.md."},
        "paths": {**_old(), **_waiting(), **_ours()},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _old() -> Json:
    status = {"type": "string", "enum": ["working", "done", "timeout"]}
    body = {"type": "object", "required": ["status"], "properties": {"status": status}}
    return {
        "/tasks": _get("All tasks, as old workers read them", {"200": _json("the list", "array")}),
        "/tasks/{id}": {
            "patch": {
                "summary": "A worker's report",
                "parameters": [_ID],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {
                    "200": _plain("noted"),
                    "400": _plain("the id or the body is wrong"),
                    "404": _plain("no such task"),
                    "403": _plain("another worker's task, where credentials are configured"),
                    "409": _plain("the task is over, or the change is not allowed"),
                    "413": _plain("the body is too large"),
                    "503": _plain("it cannot be written down now"),
                },
            },
            "delete": {
                "summary": "Cancel a task, or remove an ended task from the list",
                "parameters": [_ID],
                "responses": {"200": _plain("done"), "400": _plain("bad id"), "404": _plain("no such task")},
            },
        },
    }


def _waiting() -> Json:
    query: list[Json] = [
        {"name": "dst_addr", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "wait_s", "in": "query", "schema": {"type": "number", "minimum": 0, "maximum": 60}},
        {"name": "holding", "in": "query", "schema": {"type": "string"}},
        {"name": "claim", "in": "query", "schema": {"type": "string"}},
    ]
    answers = {
        "200": _json("a task"),
        "204": _plain("nothing to do for now"),
        "400": _PROBLEM,
        "403": _PROBLEM,
    }
    return {"/tasks/next": _get("Wait for a task", answers, query)}


def _ours() -> Json:
    held = {"200": _json("what is held")}
    confirm = {"200": _json("what was released"), "404": _PROBLEM, "503": _PROBLEM}
    return {
        "/healthz": _get("Alive?", {"200": _json("yes")}),
        "/readyz": _get("Ready to decide?", {"200": _json("yes"), "503": _json("why not")}),
        "/metrics": _get("For Prometheus", {"200": _plain("text format 0.0.4")}),
        "/api/openapi.json": _get("This document", {"200": _json("OpenAPI")}),
        "/api/v1/status": _get("Everything at a glance", {"200": _json("status")}),
        "/api/v1/servers": _get("All servers", {"200": _json("servers", "array")}),
        "/api/v1/tasks": _get("All tasks in full", {"200": _json("tasks", "array")}),
        "/api/v1/plan": _get("What cfm would do now, and why", {"200": _json("plan")}),
        "/api/v1/files/{name}": _get(
            "Everything about one file", {"200": _json("why"), "400": _PROBLEM}, [_NAME]
        ),
        "/api/v1/events": _get("Decisions as they are made", {"200": _plain("server-sent events")}),
        "/api/v1/confirm": {
            **_get("The breakers that hold, and what cfm would delete without them", held),
            "post": {"summary": "Release every breaker that holds, once", "responses": confirm},
        },
        "/api/v1/history": _get(
            "What happened, the newest first", {"200": _json("events"), "400": _PROBLEM}, _HISTORY
        ),
        "/api/v1/servers/{addr}": _get("One server, with its files by rank", _LISTING, [_ADDR, *_PAGE]),
        "/api/v1/servers/{addr}/unique": _get(
            "The files of which a server has the only copy", _LISTING, [_ADDR, *_PAGE]
        ),
        "/api/v1/backlog": _get(
            "Wanted files on no destination, with reasons", {"200": _json("files"), "400": _PROBLEM}, _PAGE
        ),
        "/api/v1/search": _get("Files and servers by a part of their name", {"200": _json("found")}, [_TEXT]),
        "/api/v1/trends": _get("What went on over the last hour and day", {"200": _json("sums")}),
        "/api/v1/settings": _get(
            "The settings in force, and where each comes from", {"200": _json("settings")}
        ),
        "/api/v1/reload": {
            "post": {
                "summary": "Read the settings again, or only say what that would change",
                "parameters": [_CHECK],
                "responses": {"200": _json("what changes"), "409": _PROBLEM},
            },
        },
        "/api/v1/handover": {
            "post": {
                "summary": "Of several cfm, let another one lead",
                "responses": {"200": _json("who led, and who may lead now"), "409": _PROBLEM},
            },
        },
        "/api/v1/metadata": _get("The metadata in force, and what was rejected", {"200": _json("metadata")}),
        "/api/v1/metadata/{id}": {
            "post": {
                "summary": "Accept a pair that contains much less than the last good one",
                "parameters": [_PAIR],
                "responses": {"200": _json("what was accepted"), "409": _PROBLEM},
            },
        },
        "/api/v1/confirm/{server}": {
            **_get("The same for one server", held, [_SERVER]),
            "post": {
                "summary": "Release the breaker of one server, once",
                "parameters": [_SERVER],
                "responses": confirm,
            },
        },
    }
