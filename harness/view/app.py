"""The explorer as a web application: what it answers, and whom.

It listens on the loopback address alone, and answers nobody who does not hold the token that its
address was printed with: other users of the machine, and pages that a browser has open beside it,
can reach the port too. It reads, and never writes.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from harness.analysis.protocol import warnings_of
from harness.errors import HarnessError
from harness.log.files import read_file
from harness.log.images import MAX_BYTES, image_path, verify
from harness.log.manifest import Manifest
from harness.report.chains import OUTCOMES, PAIRS
from harness.report.page import environment
from harness.runs.run_line import SORTED_BY
from harness.runs.wording import with_interval
from harness.view.metrics import MEDIA_TYPE, exposition
from harness.view.runs import PAGE, Library, progress

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

LONGEST_PATH = 200
"""Of an address in characters: a number of thousands of digits is not even read as one."""

STATIC = {
    "page.css": ("harness.report", "text/css"),
    "chart.js": ("harness.report", "text/javascript"),
    "gallery.js": ("harness.report", "text/javascript"),
    "plotly-basic.min.js": ("harness.report", "text/javascript"),
    "view.css": ("harness.view", "text/css"),
    "view.js": ("harness.view", "text/javascript"),
}


def make_app(library: Library, token: str, port: int) -> Starlette:
    """Return the application.

    Args:
        library: The runs it shows.
        token: Who holds it may look.
        port: Where it listens; requests that name another host are refused, so that no foreign
            page can pass for this one by its own name.
    """
    explorer = _Explorer(library, environment("harness.view", "harness.report"))
    app = Starlette(
        routes=[
            Route("/", explorer.index),
            Route("/run/{number:int}", explorer.searches),
            Route("/run/{number:int}/chart", explorer.chart),
            Route("/run/{number:int}/progress", explorer.progress),
            Route("/run/{number:int}/image/{digest}", explorer.image),
            Route("/compare/{first:int}/{second:int}", explorer.searches),
            Route("/compare/{first:int}/{second:int}/chart", explorer.chart),
            Route("/metrics", explorer.metrics),
            Route("/static/{name}", explorer.static),
        ],
        exception_handlers={HarnessError: _sentence},
    )
    return _Guard(app, token, port)  # type: ignore[return-value]


class _Guard:
    """Lets nobody in without the token; a token in the address becomes a cookie."""

    def __init__(self, app: Starlette, token: str, port: int) -> None:
        self._app, self._token, self._port = app, token, port
        self._cookie = f"harness-{port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        await self._answer(request)(scope, receive, _with_headers(send))

    def _answer(self, request: Request) -> Callable[..., Awaitable[None]]:
        if request.headers.get("host") not in (
            f"127.0.0.1:{self._port}",
            f"localhost:{self._port}",
        ):
            return PlainTextResponse("This address is not mine.\n", 400)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("The explorer changes nothing.\n", 405)
        if len(request.scope["path"]) > LONGEST_PATH:
            return PlainTextResponse("Nothing has an address this long.\n", 404)
        given = request.query_params.get("token")
        if given is not None and self._holds(given):
            pairs = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
            # One slash in front and all else quoted: what follows two, a browser takes for a host.
            here = f"/{quote(request.scope['path'].lstrip('/'))}"
            response = RedirectResponse(f"{here}{f'?{urlencode(pairs)}' if pairs else ''}", 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return response
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._holds(request.cookies.get(self._cookie, "")) and not self._holds(bearer):
            return PlainTextResponse(
                "Open the address that `python -m harness view` printed: it holds the token.\n", 403
            )
        return self._app

    def _holds(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _with_headers(send: Any) -> Callable[[Any], Awaitable[None]]:
    async def answer(message: Any) -> None:
        if message["type"] == "http.response.start":
            extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return answer


def _sentence(_: Request, error: Exception) -> Response:
    assert isinstance(error, HarnessError)
    return PlainTextResponse(f"{error.message}\n", 422)


class _Explorer:
    """The pages. Starlette runs each, since it is no coroutine, in a thread of its pool."""

    def __init__(self, library: Library, templates: Environment) -> None:
        self._library, self._templates = library, templates

    def _render(self, template: str, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(**values))

    def index(self, request: Request) -> Response:
        lines = list(enumerate(self._library.lines()))
        order = request.query_params.get("sort", "date")
        if order not in SORTED_BY:
            raise HTTPException(404)
        folders = {os.path.dirname(line.path) for _, line in lines}
        root = f"{os.path.commonpath(folders)}/" if len({*map(os.path.isabs, folders)}) == 1 else ""
        lines.sort(key=lambda line: SORTED_BY[order](line[1]))
        return self._render("index.html", lines=lines, order=order, root=root.lstrip("/") and root)

    def searches(self, request: Request) -> Response:
        """Answer with the searches of one run, or those of two side by side."""
        numbers = list(request.path_params.values())
        names = [self._folder(number).path.name for number in numbers]
        search = _query(request.query_params)
        is_one = len(numbers) == 1
        path = ("/run/{}" if is_one else "/compare/{}/{}").format(*numbers)
        try:
            cards, total = self._library.cards(numbers, **search)
            tags = sorted(set(self._library.run(numbers[0]).prompts["tag"]))
            facts = [self._library.facts(number) for number in numbers if is_one]
            problem = ""
        except HarnessError as error:  # such as a run of which no search has ended yet
            if not is_one:
                raise
            cards, total, tags, facts, problem = [], 0, [], [], error.message
        return self._render(
            "run.html", number=numbers[0], name=" and ".join(names), cards=cards, total=total,
            tags=tags, problem=problem, outcomes=OUTCOMES, choices=OUTCOMES if is_one else PAIRS,
            search=search, pages=max(1, -(-total // PAGE)), path=path,
            live=numbers[0] if is_one else None, others=self._others(numbers[0]) if is_one else [],
            places=[f"/run/{number}/image" for number in numbers],
            notes=self._notes(numbers), facts_of=facts,
        )  # fmt: skip

    def chart(self, request: Request) -> Response:
        """Answer with score over cost of one run or two, as a part of their page."""
        numbers = list(request.path_params.values())
        notes = self._notes(numbers)
        section = self._library.section(numbers)
        notes = [text for text in section["warnings"] if text not in notes]
        return self._render("chart.html", section=section, notes=notes)

    def progress(self, request: Request) -> Response:
        state = progress(self._folder(request.path_params["number"]), self._library.price)
        return JSONResponse({**asdict(state), "score": state.micro and with_interval(*state.micro)})

    def image(self, request: Request) -> Response:
        folder, digest = self._folder(request.path_params["number"]), request.path_params["digest"]
        if len(digest) != 32 or set(digest) - set("0123456789abcdef"):
            raise HTTPException(404)
        try:
            png = read_file(image_path(folder.images, digest), MAX_BYTES)
        except OSError:
            raise HTTPException(404) from None
        if verify(png, digest):
            raise HTTPException(404)
        return Response(png, media_type="image/png")

    def metrics(self, _: Request) -> Response:
        """Gauges of every run that can be read, for Prometheus."""
        runs = {}
        for folder in self._library.folders:
            with contextlib.suppress(HarnessError):
                runs[str(folder.path)] = progress(folder)
        return Response(exposition(runs), media_type=MEDIA_TYPE)

    def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        package, media_type = STATIC[name]
        text = (files(package) / "templates" / name).read_text(encoding="utf-8")
        return Response(text, media_type=media_type)

    def _folder(self, number: int) -> Any:
        try:
            return self._library.folder(number)
        except KeyError:
            raise HTTPException(404) from None

    def _notes(self, numbers: Sequence[int]) -> list[str]:
        """Return what must be read before any number."""
        return warnings_of(
            [Manifest.read(self._folder(number).manifest).config for number in numbers]
        )

    def _others(self, number: int) -> list[tuple[int, str]]:
        return [
            (other, folder.path.name)
            for other, folder in enumerate(self._library.folders)
            if other != number
        ]


def _query(query: Mapping[str, str]) -> dict[str, Any]:
    page = query.get("page", "0")
    return {
        "words": query.get("words", "")[:200],
        "tag": query.get("tag", "*"),
        "outcome": query.get("outcome", "*"),
        "page": int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 0,
    }
