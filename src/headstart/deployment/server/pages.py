"""What the server shows in a browser: the files of ``static/``, and a listing of its routes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent.parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}

Files = dict[str, tuple[bytes, str]]


def static_files(folder: Path = STATIC) -> Files:
    """Path -> bytes and media type of each file below a folder; index.html is ``/``, too.

    They are read once, and only these paths exist: no request can name another file.
    """
    files: Files = {}
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file() and file.suffix in KINDS:
            files[f"/{file.relative_to(folder).as_posix()}"] = (file.read_bytes(), KINDS[file.suffix])
    if "/index.html" in files:
        files["/"] = files["/index.html"]
    return files


def listing(openapi: Mapping[str, Any]) -> str:
    """The routes as a page without scripts, styles or requests to other servers.

    Args:
        openapi: The description that ``/openapi.json`` gives.
    """
    info = openapi["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['summary'])}</p>"]
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(route.get('description', ''))}</p>")
            rows = [
                (f"query <code>{escape(one['name'])}</code>", one.get("description", ""))
                for one in route.get("parameters", ())
            ]
            rows += [
                (f"body <code>{escape(kind)}</code>", one.get("schema", {}).get("description", ""))
                for kind, one in route.get("requestBody", {}).get("content", {}).items()
            ]
            rows += [
                (f"answer {escape(status)}", one.get("description", ""))
                for status, one in route["responses"].items()
            ]
            cells = "".join(f"<tr><td>{name}</td><td>{escape(words)}</td></tr>" for name, words in rows)
            parts.append(f"<table>{cells}</table>")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(info['title'])}</title></head><body>{''.join(parts)}"
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p></body></html>'
    )
