"""The routes of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from headstart.data.images import UnreadableImage
from headstart.data.limits import MAX_JPEG_PIXELS, MAX_PIXELS
from headstart.deployment.decision import Sets
from headstart.deployment.predict import Model, Prediction
from headstart.deployment.server import descriptions
from headstart.deployment.server.answering import Answered, answered, at_once, prediction, prepared
from headstart.deployment.server.batcher import Batcher
from headstart.deployment.server.gate import ServerState, internal, say_where
from headstart.deployment.server.metrics import CONTENT_TYPE, ServerMetrics
from headstart.deployment.server.pages import listing, static_files
from headstart.deployment.server.pool import Pool
from headstart.deployment.server.refusals import JSON_TYPE, Refusal, encoded, error_body, too_late
from headstart.deployment.server.saliency import can_explain, check_can_explain, heat_map_png
from headstart.deployment.server.scheduler import Scheduler
from headstart.deployment.server.settings import ServeSettings
from headstart.deployment.server.uploads import HeldBytes, Upload, read_uploads
from headstart.errors import HeadstartError
from headstart.versions import versions

UNREADABLE = {"not-an-image": 415, "unsupported": 415, "too-large": 413}
"""Status of a request whose only picture cannot be read; 422 for all other reasons."""

SLOW_JSON = 5000  # probabilities in an answer that is written in a thread

NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""FastAPI would send traces, and the words of errors, where environment variables of OpenTelemetry say."""

Result = TypeVar("Result")
Top = Annotated[int | None, Query(ge=1, description=descriptions.TOP)]
Coverage = Annotated[float | None, Query(gt=0, lt=1, description=descriptions.COVERAGE)]
Of = Annotated[str | None, Query(description=descriptions.OF)]


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Service:
    """What the routes share: the model, the batches, the counts.

    Args:
        model: Loaded.
        settings: Of the server.
        state: Of the process.
        queue: Pictures that may wait.
        workers: Threads that decode, or answer.
    """

    def __init__(
        self, model: Model, settings: ServeSettings, state: ServerState, *, queue: int, workers: int
    ) -> None:
        self.model = model
        self.settings = settings
        self.state = state
        self.queue = queue
        self.held = HeldBytes(settings.held_bytes)
        self.metrics = ServerMetrics(lambda: self.scheduler.pending, lambda: self.held.now)
        self.scheduler = self.scheduled(workers)

    def scheduled(self, workers: int) -> Scheduler[bytes, Answered]:
        """Threads that answer alone, or batches, as the network is best used."""
        model, size = self.model, self.settings.batch_size
        if model.backend.side_by_side:
            return Pool(partial(at_once, model), queue=self.queue, workers=workers)
        steps = partial(prepared, model), partial(answered, model)
        return Batcher(
            *steps, batch_size=size, queue=self.queue, workers=workers, on_batch=self.metrics.batch
        )

    async def predict(self, request: Request, top: int | None, sets: Sets | None) -> bytes:
        """The answer to a request with pictures, JSON."""
        self.scheduler.check()  # before its body is read
        with self.held.share() as add:
            uploads = await self.uploads(request, add)
            outcomes = await self.in_time(request, self.scheduler.answers([one.content for one in uploads]))
        if len(outcomes) == 1 and isinstance(outcomes[0], UnreadableImage):
            self.metrics.picture(outcomes[0].kind)
            raise unreadable(outcomes[0])
        rows = []
        for upload, outcome in zip(uploads, outcomes, strict=True):
            if isinstance(outcome, UnreadableImage):
                row = Prediction(upload.name, status=outcome.kind, reason=outcome.reason)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                row = prediction(self.model, upload.name, outcome, top=top, sets=sets)
            self.metrics.picture(row.status)
            rows.append(row)
        answer = {"model": self.short(), "predictions": [row_of(row) for row in rows]}
        if len(rows) * len(self.model.classes) > SLOW_JSON:
            return await asyncio.to_thread(encoded, answer)
        return encoded(answer)

    async def explain(self, request: Request, of: str | None) -> tuple[bytes, str]:
        """A PNG and the class that it speaks for."""
        check_can_explain(self.model)
        self.scheduler.check()
        with self.held.share() as add:
            uploads = await self.uploads(request, add)
            if len(uploads) != 1:
                raise Refusal(
                    422,
                    "HS-SERVE-041",
                    f"A heat map is made of one picture, not of {len(uploads)}.",
                    fix="Send one request for each picture.",
                )
            work = self.scheduler.alone(partial(heat_map_png, self.model, uploads[0].content, of))
            try:
                return await self.in_time(request, work)
            except UnreadableImage as error:
                raise unreadable(error) from None

    async def uploads(self, request: Request, add: Callable[[int], None]) -> list[Upload]:
        """The pictures of a request.

        Raises:
            Refusal: as `read_uploads`; HS-SERVE-033, it did not arrive in time.
        """
        try:
            async with asyncio.timeout(self.settings.upload_timeout):
                return await read_uploads(request.headers, request.stream(), self.settings, add)
        except TimeoutError:
            raise Refusal(
                408,
                "HS-SERVE-033",
                f"The request did not arrive within {self.settings.upload_timeout:g} s.",
                fix="Send fewer or smaller pictures, or start the server with a longer --upload-timeout.",
                headers={"Connection": "close"},
            ) from None
        except ClientDisconnect:
            raise ClientGoneError from None

    async def in_time(self, request: Request, work: Awaitable[Result]) -> Result:
        """The result, unless it takes too long, or nobody waits for it any more; then it is given up.

        Raises:
            Refusal: HS-SERVE-032; and what the work raises.
            ClientGoneError: The connection has been closed.
        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(request.receive())  # after the body, there is only the end to come
        try:
            await asyncio.wait(
                (task, gone), timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return task.result()
            if gone.done():
                raise ClientGoneError
            raise too_late(self.settings.timeout)
        finally:
            for one in (task, gone):
                one.cancel()

    def short(self) -> dict[str, Any]:
        """The model, in a few words."""
        card = self.model.card
        return {
            "architecture": card.get("architecture", ""),
            "classes": len(self.model.classes),
            "weights_sha256": card.get("weights", {}).get("sha256", ""),
        }

    def metadata(self) -> dict[str, Any]:
        """All that is known of the model and the server, without places on its disk."""
        card, settings, rule = self.model.card, self.settings, self.model.decision
        return {
            "model": self.short(),
            "classes": list(self.model.classes),
            "preprocess": self.model.preprocess.to_dict(),
            "temperature": self.model.temperature,
            "knows_unknown": self.model.detector is not None,
            "min_recall": None if rule.least_recall is None else rule.least_recall.to_dict(),
            "costs": None if rule.costs is None else rule.costs.to_dict(),
            "licence": card.get("licence", ""),
            "notice": card.get("notice", ""),
            "backend": self.model.backend.described(),
            "explains": can_explain(self.model),
            "versions": {"model": card.get("versions", {}), "server": versions()},
            "limits": {
                "file_bytes": settings.file_bytes,
                "request_bytes": settings.request_bytes,
                "files": settings.max_files,
                "pixels": MAX_PIXELS,
                "jpeg_pixels": MAX_JPEG_PIXELS,
                "queue": self.queue,
                "batch_size": 1 if self.model.backend.side_by_side else settings.batch_size,
                "timeout_seconds": settings.timeout,
                "upload_timeout_seconds": settings.upload_timeout,
            },
        }


def row_of(row: Prediction) -> dict[str, Any]:
    """A prediction for JSON."""
    entry = asdict(row)
    return {"name": entry.pop("path"), **entry}


def unreadable(error: UnreadableImage) -> Refusal:
    """A request whose only picture gives no answer."""
    return Refusal(
        UNREADABLE.get(error.kind, 422),
        "HS-SERVE-026",
        f"The picture cannot be read ({error.kind}): {error.reason}.",
        fix="Send a JPEG, PNG, TIFF, WebP, GIF or BMP file, whole and as it is.",
    )


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = value if isinstance(value, bytes) else encoded(value)
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, JSON_TYPE)


def application(service: Service) -> FastAPI:
    """The routes.

    Args:
        service: What answers them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.scheduler.close()

    app = FastAPI(
        title="headstart",
        summary=descriptions.SUMMARY,
        version=versions().get("headstart", ""),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    add_routes(app, service)
    add_pages(app)
    add_errors(app)
    return app


def add_routes(app: FastAPI, service: Service) -> None:
    """What programs ask."""

    @app.post("/predict", openapi_extra=descriptions.PICTURES, responses=descriptions.PREDICTED)
    async def predict(request: Request, top: Top = None, coverage: Coverage = None) -> Response:
        """Name one or many pictures."""
        sets = None if coverage is None else service.model.sets(coverage)
        return json_response(await service.predict(request, top, sets))

    @app.post("/explain", openapi_extra=descriptions.PICTURES, responses=descriptions.EXPLAINED)
    async def explain(request: Request, of: Of = None) -> Response:
        """Draw where the model looks in one picture."""
        png, _ = await service.explain(request, of)
        return Response(png, headers={"Cache-Control": "no-store"}, media_type="image/png")

    @app.get("/health", responses=descriptions.HEALTHY)
    async def health() -> Response:
        """Whether pictures are answered: ready (200) or draining (503)."""
        ready = not service.state.draining
        return json_response({"status": "ready" if ready else "draining"}, 200 if ready else 503)

    @app.get("/metadata", responses=descriptions.DESCRIBED)
    async def metadata() -> Response:
        """Classes, preprocessing, licence, versions and limits."""
        return json_response(service.metadata())

    @app.get("/metrics", responses=descriptions.MEASURED)
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def add_pages(app: FastAPI) -> None:
    """What browsers ask."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(listing(app.openapi()), media_type="text/html; charset=utf-8")

    for path, (body, kind) in static_files().items():

        def given(body: bytes = body, kind: str = kind) -> Callable[[], Awaitable[Response]]:
            async def answer() -> Response:
                return Response(body, headers={"Cache-Control": "no-cache"}, media_type=kind)

            return answer

        app.get(path, include_in_schema=False)(given())


def add_errors(app: FastAPI) -> None:
    """Every error as JSON with a code."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return json_response(error_body(error), error.status, error.headers)

    @app.exception_handler(HeadstartError)
    async def not_possible(request: Request, error: HeadstartError) -> Response:
        if error.code.split("-")[1] in ("PREDICT", "EVAL"):  # asked for what this model cannot give
            return json_response(error_body(error), 422)
        say_where(error)
        return json_response(error_body(internal()), 500)

    @app.exception_handler(RequestValidationError)
    async def wrong_query(request: Request, error: RequestValidationError) -> Response:
        details = tuple(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        refusal = Refusal(422, "HS-SERVE-027", "The query cannot be used.", details=details, fix="See /docs.")
        return json_response(error_body(refusal), 422)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            what, code = "This path is not asked by this method.", "HS-SERVE-014"
        else:
            what, code = "There is nothing at this path.", "HS-SERVE-013"
        refusal = Refusal(error.status_code, code, what, fix="See /docs.")
        return json_response(error_body(refusal), error.status_code, dict(error.headers or {}))

    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_response(error_body(internal()), 500)  # the gate says where
