"""`GET /openapi.json` and `GET /docs`: the description of the API, and one page of it without scripts.

The page needs no other host and no script, so it works offline and under the strictest content security policy.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from service.routes import json_response

Schema = Mapping[str, Any]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h2 { margin: 2.5rem 0 .25rem; font: 600 1.1rem ui-monospace, monospace; border-top: 1px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; width: 100% } td { vertical-align: top; padding: .2rem .8rem .2rem 0 }
code, pre { font: .9rem ui-monospace, monospace } pre { background: #f4f4f4; padding: .8rem; overflow-x: auto }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e6e6e6 } pre { background: #262626 }
h2 { border-color: #444 } a { color: #8ab4f8 } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def documentation_routes(schema: Callable[[], Schema]) -> APIRouter:
    """Make the router; `schema` gives the OpenAPI description when it is first asked for."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(schema())

    @router.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(page(schema()), headers={"content-security-policy": _POLICY})

    return router


def page(schema: Schema) -> str:
    """Write the description as HTML: every route, its fields, its answers, and a call to copy."""
    info = schema["info"]
    body = "\n".join(_operations(schema))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        '<p>The same for machines: <a href="/openapi.json">/openapi.json</a></p>'
        f"{body}</html>"
    )


def _operations(schema: Schema) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body is not None:
                yield from _request(schema, path, method, _resolved(schema, body))
            answers = "; ".join(
                f"{status} {answer['description']}" for status, answer in operation["responses"].items()
            )
            yield f"<p>Answers: {escape(answers)}</p>"


def _request(schema: Schema, path: str, method: str, body: Schema) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(name)}</code>{' *' if is_required else ''}</td>"
        f"<td>{escape(_kind(field))}</td><td>{escape(field.get('description', ''))}</td></tr>"
        for name, field, is_required in _fields(schema, body)
    ]
    yield f"<table>{''.join(rows)}</table>"
    sent = json.dumps(_example(schema, body))
    call = f"curl -X {method.upper()} localhost:8080{path} -H 'content-type: application/json' -d '{sent}'"
    yield f"<pre>{escape(call)}</pre>"


class _Field(NamedTuple):
    name: str
    field: Schema
    is_required: bool


def _fields(schema: Schema, body: Schema, prefix: str = "") -> Iterator[_Field]:
    """Yield the fields of a body, those of objects inside it under dotted names."""
    for name, field in body.get("properties", {}).items():
        inside = next(
            (found for one in field.get("anyOf", [field]) if (found := _resolved(schema, one)) is not one), {}
        )
        if "properties" in inside:
            yield from _fields(schema, inside, f"{prefix}{name}.")
        else:
            yield _Field(prefix + name, field | inside, name in body.get("required", ()))


def _kind(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one) for one in field["anyOf"]))
    if "enum" in field or "const" in field:
        return " | ".join(map(str, field.get("enum", [field.get("const")])))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type") or field.get("$ref", "anything").rpartition("/")[2])


def _example(schema: Schema, body: Schema) -> object:
    """Fill in what is required, as shortly as possible."""
    body = _resolved(schema, body)
    if "properties" in body:
        return {name: _example(schema, body["properties"][name]) for name in body.get("required", ())}
    kinds = [one.get("type") for one in body.get("anyOf", [body])]
    return "how to bake bread" if "string" in kinds else ["how to bake bread"]


def _resolved(schema: Schema, body: Schema) -> Schema:
    name = body.get("$ref", "").rpartition("/")[2]
    found: Schema = schema.get("components", {}).get("schemas", {}).get(name, body)
    return found
