"""Renders the OpenAPI document as a page that uses no script and no other host."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from html import escape
from typing import Any

from amrikyy.llm.values import to_words
from amrikyy.web.docs import DEFAULT_SERVER
from amrikyy.web.examples import example_of, resolved

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2563eb; }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, sans-serif; margin: 0; display: grid; grid-template-columns: 17rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 1rem;
  border-right: 1px solid var(--line); }
nav b { display: block; margin: 1rem 0 .2rem; }
nav a { display: block; text-decoration: none; color: inherit; padding: .1rem 0; font-size: 13px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
nav a:hover { color: var(--accent); }
main { padding: 2rem 2.5rem; max-width: 62rem; }
h1 { margin: 0; } h2 { margin: 3rem 0 0; }
article { border: 1px solid var(--line); border-radius: 10px; margin: 1rem 0; overflow: hidden; }
article header { padding: .6rem 1rem; background: var(--soft); display: flex; gap: .8rem; align-items: baseline;
  flex-wrap: wrap; }
article > div { padding: .2rem 1rem 1rem; }
.method { font: 700 12px ui-monospace, monospace; padding: .15rem .5rem; border-radius: 5px; color: #fff;
  background: #16803c; }
.POST { background: var(--accent); } .DELETE { background: #b91c1c; } .PATCH { background: #a16207; }
code, pre { font: 13px ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem 1rem; border-radius: 8px; overflow: auto; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: 12px; opacity: .7; }
summary { cursor: pointer; margin: .6rem 0; }
.lock { margin-left: auto; font-size: 12px; opacity: .75; }
@media (max-width: 800px) {
  body { display: block; } main { padding: 1rem; }
  nav { position: static; height: 40vh; border: solid var(--line); border-width: 0 0 1px; }
}
"""


MAX_DEPTH = 3
"""How deep the fields of fields, and lists of lists, are shown: a schema may contain itself."""


def render(document: dict[str, Any], today: date) -> str:
    """The OpenAPI document as HTML, with dates after `today` in its examples."""
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    schemas = document["components"]["schemas"]
    links, sections = [], []
    for tag, operations in by_tag.items():
        links.append(f"<b>{escape(tag)}</b>")
        sections.append(f"<h2>{escape(tag)}</h2>")
        for method, path, operation in operations:
            links.append(
                f'<a href="#{operation["operationId"]}" title="{escape(path)}">{escape(_entry(path, operation))}</a>'
            )
            sections.append(_article(method, path, operation, schemas, today))
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style>"
        f"<nav><strong>{escape(info['title'])}</strong> {escape(info['version'])}"
        f'<a href="openapi.json">openapi.json</a>{"".join(links)}</nav>'
        f"<main><h1>{escape(info['title'])}</h1>{_text(info['description'])}{''.join(sections)}</main></html>"
    )


def _entry(path: str, operation: dict[str, Any]) -> str:
    """Its name in the sidebar. Streams have the summaries of what they stream, so they are listed by path."""
    return path.removeprefix("/api/stream") if operation["tags"] == ["Streaming"] else operation["summary"]


def _article(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any], today: date) -> str:
    public = operation.get("security") == []
    parts = [_text(operation["description"])]
    if parameters := operation.get("parameters"):
        rows = {
            "properties": {
                parameter["name"]: {"description": parameter.get("description", "")} | parameter["schema"]
                for parameter in parameters
            },
            "required": [parameter["name"] for parameter in parameters if parameter["required"]],
        }
        parts.append(f"<h4>Parameters</h4>{_fields(rows, schemas)}")
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        parts.append(f"<h4>Body</h4>{_fields(schema, schemas)}")
    command = escape(_curl(method, path, operation, schemas, today))
    parts.append(f"<details><summary>Try it</summary><pre>{command}</pre></details>")
    answers = []
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {"no body": {"schema": {}}}).items():
            fields = _fields(content["schema"], schemas) if status.startswith("2") else ""
            answers.append(
                f"<p><code>{status}</code> {escape(media_type)}. {_inline(response['description'])}</p>{fields}"
            )
    parts.append(f"<details><summary>Answers</summary>{''.join(answers)}</details>")
    lock = "public" if public else "credential needed"
    return (
        f'<article id="{operation["operationId"]}"><header><span class="method {method}">{method}</span>'
        f"<code>{escape(path)}</code><span>{escape(operation['summary'])}</span>"
        f'<span class="lock">{lock}</span></header><div>{"".join(parts)}</div></article>'
    )


def _fields(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> str:
    schema = resolved(schema, schemas)
    properties = schema.get("properties")
    if not properties:
        return ""
    rows = []
    for name, field in properties.items():
        needed = "required" if name in schema.get("required", ()) else _default(field)
        objects = list(_objects(field, schemas)) if depth < MAX_DEPTH else []
        nested = "".join(
            (
                f"<p>{escape(inner.get('title', 'object'))}: {_inline(inner.get('description', ''))}</p>"
                if len(objects) > 1
                else ""
            )
            + _fields(inner, schemas, depth + 1)
            for inner in objects
        )
        text = _inline(resolved(field, schemas).get("description", ""))
        more = f"<details><summary>{text or 'fields'}</summary>{nested}</details>" if nested else text
        rows.append(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(field, schemas))}</td>"
            f"<td>{escape(needed)}</td><td>{more}</td></tr>"
        )
    return f"<table><tr><th>field<th>type<th><th></tr>{''.join(rows)}</table>"


def _objects(field: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects that a field is, has as its items, or may be."""
    field = resolved(field, schemas)
    if field.get("properties"):
        yield field
    items = [field["items"]] if isinstance(field.get("items"), dict) else []
    for part in (*items, *field.get("anyOf", ()), *field.get("oneOf", ())) if depth < MAX_DEPTH else ():
        yield from _objects(part, schemas, depth + 1)


def _default(field: dict[str, Any]) -> str:
    return f"= {json.dumps(field['default'])}" if field.get("default") is not None else "optional"


def _type(field: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> str:
    field = resolved(field, schemas)
    if options := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(_type(option, schemas, depth) for option in options)
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    if "const" in field:
        return json.dumps(field["const"])
    kind = str(field.get("type", "any"))
    if kind == "object" and field.get("properties"):
        return str(field.get("title", "object"))
    if kind == "array":
        kind = f"list of {_type(field.get('items', {}), schemas, depth + 1) if depth < MAX_DEPTH else 'such'}"
    bounds = {"minimum": "≥", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤",
              "minItems": "items ≥", "maxItems": "items ≤", "exclusiveMinimum": ">"}  # fmt: skip
    limits = [f"{sign} {field[key]}" for key, sign in bounds.items() if key in field]
    return ", ".join([kind if "format" not in field else f"{kind} ({field['format']})", *limits])


def _curl(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any], today: date) -> str:
    streams = "text/event-stream" in str(operation["responses"].get("200", {}).get("content", {}).keys())
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":  # a shell variable like $TOKEN, where nothing exists that it could name
            value = parameter.get("example", f"${to_words(parameter['name']).upper()}")
            path = path.replace(f"{{{parameter['name']}}}", value)
    lines = [f"curl {'-N ' if streams else ''}{f'-X {method} ' if method != 'GET' else ''}{DEFAULT_SERVER}{path}"]
    if operation.get("security") != []:
        lines.append('  -H "Authorization: Bearer $TOKEN"')
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        example = content["example"] if "example" in content else example_of(content["schema"], schemas, today)
        sent = shlex.quote(json.dumps(example, ensure_ascii=False))
        lines += ['  -H "Content-Type: application/json"', f"  -d {sent}"]
    return " \\\n".join(lines)


def _text(text: str) -> str:
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("* "):
            items = block.replace("\n  ", " ").split("\n")
            blocks.append("<ul>" + "".join(f"<li>{_inline(item[2:])}</li>" for item in items) + "</ul>")
        else:
            blocks.append(f"<p>{_inline(block)}</p>")
    return "".join(blocks)


def _inline(text: str) -> str:
    """Escape, with `code` in backticks."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
