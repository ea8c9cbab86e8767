"""What ``/openapi.json`` and ``/docs`` say of the routes."""

from __future__ import annotations

from typing import Any

SUMMARY = "Names pictures with a model that was trained with headstart. Nothing of them is kept or logged."
TOP = "Keep only so many classes in `probabilities`, most probable first."
COVERAGE = "Share of pictures, such as 0.95, whose `set` holds the true class; needs calibration pictures."
OF = "Class that the heat speaks for; by default the most probable one."

Description = dict[str, Any]
Responses = dict[int | str, Description]

_BINARY = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}

PICTURES: Description = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "One or many fields `files`, each with a picture file.",
                    "properties": {"files": {"type": "array", "items": _BINARY}},
                    "required": ["files"],
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "{'image': BASE64} or {'images': [BASE64, ...]}",
                    "properties": {"image": _BASE64, "images": {"type": "array", "items": _BASE64}},
                    "additionalProperties": False,
                }
            },
            "application/octet-stream": {"schema": {**_BINARY, "description": "The bytes of one picture."}},
        },
    }
}

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "pattern": "^HS-[A-Z]+-[0-9]{3}$"},
                "message": {"type": "string"},
                "fix": {"type": "string"},
                "details": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["code", "message", "fix"],
        }
    },
    "required": ["error"],
}


def _nullable(kind: str) -> Description:
    return {"type": [kind, "null"]}


_PREDICTION = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Of the file, as given; empty if none was."},
        "status": {"type": "string", "description": "ok, or why there is no answer."},
        "prediction": _nullable("string"),
        "confidence": _nullable("number"),
        "unknown": _nullable("boolean"),
        "unknown_score": _nullable("number"),
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "reason": {"type": "string"},
        "note": {"type": "string"},
        "set": {"type": ["array", "null"], "items": {"type": "string"}},
    },
    "required": ["name", "status", "prediction", "confidence", "probabilities", "reason"],
}


def _json(description: str, schema: Description) -> Description:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> Responses:
    words = {
        400: "The body cannot be read, or the host is not known.",
        401: "The token is missing or wrong.",
        403: "Asked by a page of another server.",
        408: "The request did not arrive in time.",
        413: "Too many bytes, files or pixels.",
        415: "Neither a form, nor JSON, nor a picture; or the only picture is none.",
        422: "No picture, the only one is damaged, or a query that cannot be used.",
        429: "Too many pictures are waiting: Retry-After says when to try again.",
        500: "The server failed.",
        501: "The server lacks what heat maps need.",
        503: "The server is shutting down, or gave no answer in time.",
    }
    return {status: _json(words[status], _ERROR) for status in statuses}


_COMMON = (400, 401, 403, 503)
_UPLOAD = (408, 413, 415, 422, 429, 500)

PREDICTED: Responses = {
    200: _json(
        "A prediction for each picture, in order; of several, one that cannot be read says why.",
        {
            "type": "object",
            "properties": {
                "model": {"type": "object"},
                "predictions": {"type": "array", "items": _PREDICTION},
            },
            "required": ["model", "predictions"],
        },
    ),
    **_errors(*_COMMON, *_UPLOAD),
}
EXPLAINED: Responses = {
    200: {
        "description": "The picture as the network sees it, under its heat map.",
        "content": {"image/png": {"schema": _BINARY}},
    },
    **_errors(*_COMMON, *_UPLOAD, 501),
}
_STATUS = {
    "type": "object",
    "properties": {"status": {"enum": ["ready", "draining"]}},
    "required": ["status"],
}
HEALTHY: Responses = {
    200: _json("Ready.", _STATUS),
    503: _json("Shutting down.", _STATUS),
    **_errors(400, 403),
}
DESCRIBED: Responses = {
    200: _json("All that is known of the model, and the limits.", {"type": "object"}),
    **_errors(*_COMMON),
}
MEASURED: Responses = {
    200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}},
    **_errors(400, 401, 403),
}
