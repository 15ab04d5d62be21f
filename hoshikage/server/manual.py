"""`GET /openapi.json`: the tables of routes and fields, as tools read them."""

from __future__ import annotations

import re
from typing import Any

from blacksheep import Response

from hoshikage._version import __version__
from hoshikage.server.fields import Field, Table
from hoshikage.server.reply import json_response
from hoshikage.server.routes import Route
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.shell.keys import Access

IN_JSON = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
A_NAME = {"type": "string", "minLength": 1}
# Where the answer of a route holds the name of a model, and which routes read one in their path.
NAMES_A_MODEL = {("GET", "/v1/models"): "/data/0/id", ("POST", "/admin/models"): "/model/id"}
OF_A_MODEL = [
    ("GET", "/v1/models/{id}", "id"),
    ("POST", "/admin/models/{name}/load", "name"),
    ("POST", "/admin/models/{name}/unload", "name"),
    ("DELETE", "/admin/models/{name}", "name"),
]


async def openapi(services: Services, exchange: Exchange) -> Response:
    """The whole document."""
    del exchange
    return json_response(document(services.routes))


def document(routes: list[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of a table of routes."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hoshikage", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR_SCHEMA},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation(route: Route) -> dict[str, Any]:
    """One route."""
    said: dict[str, Any] = {
        "operationId": id_of(route.method, route.path),
        "summary": route.about,
        "description": f"For {route.access.value}.",
        "security": [] if route.access is Access.OPEN else [{}, {"key": []}],
        "parameters": parameters(route),
        "responses": {
            "2XX": {"description": "what was asked for", **links_from(route)},
            "4XX": {"description": "what was asked for cannot be done", "content": IN_JSON},
            "5XX": {"description": "the server cannot do it", "content": IN_JSON},
        },
    }
    if route.table is not None:
        content = {"application/json": {"schema": schema_of_table(route.table)}}
        said["requestBody"] = {"required": any(row.required for row in route.table.fields), "content": content}
    return said


def id_of(method: str, path: str) -> str:
    """What other programs call a route by."""
    return "_".join([method.lower(), *re.findall(r"\w+", path)])


def parameters(route: Route) -> list[dict[str, Any]]:
    """What stands in its path, and behind a question mark."""
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [
        *({"name": name, "in": "path", "required": True, "schema": A_NAME} for name in named),
        *(
            {"name": row.name, "in": "query", "required": row.required, "schema": row.check.shape,
             "description": row.meaning}
            for row in route.query
        ),
    ]  # fmt: skip


def links_from(route: Route) -> dict[str, Any]:
    """What else can be asked of a model whose name stands in the answer."""
    if (route.method, route.path) not in NAMES_A_MODEL:
        return {}
    name = f"$response.body#{NAMES_A_MODEL[route.method, route.path]}"
    return {
        "links": {
            id_of(method, path): {"operationId": id_of(method, path), "parameters": {parameter: name}}
            for method, path, parameter in OF_A_MODEL
        }
    }


def schema_of_table(table: Table) -> dict[str, Any]:
    """The object that a route reads."""
    return {
        "type": "object",
        "properties": {row.name: schema_of_field(row) for row in table.fields},
        "required": [row.name for row in table.fields if row.required],
    }


def schema_of_field(row: Field) -> dict[str, Any]:
    schema = row.check.shape
    if not row.required:
        schema = {"anyOf": [schema, {"type": "null"}]}
    of_kind = f" ({row.kinds[0]} models only)" if len(row.kinds) == 1 else ""
    default = {} if row.default in (None, ()) else {"default": row.default}
    return {**schema, "description": row.meaning + of_kind, **default}
