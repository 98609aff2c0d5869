"""The local page on which people rank pictures: on loopback alone, behind a token in its address."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .answers import Answer, AnswerFile, check_answer, check_name
from .errors import GalleryError
from .gallery import Gallery
from .pictures import picture_file
from .questions import Asked, answered, check_there_are, progress, questions

PAGE = Path(__file__).parent / "page"
HOST = "127.0.0.1"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
}
_MOST_BYTES = 100_000
# Nothing from elsewhere is loaded, and no other page may show this one in a frame.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class RankingServer(ThreadingHTTPServer):
    """Serves the page of one run until it is shut down; `address` is what to open."""

    daemon_threads = True

    def __init__(self, run: Path, gallery: Gallery, port: int = 0, iteration: int = 0) -> None:
        self.run, self.gallery = run, gallery
        self.asked, self.notes = questions(run, gallery, iteration)
        check_there_are(self.asked, run)
        self.by_question = {one.question: one for one in self.asked}
        self.token = secrets.token_urlsafe(18)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise GalleryError(
                f"port {port} cannot be opened ({error.strerror}); give another with --port, or leave it out "
                "for one that is free"
            ) from error

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong with a request, other than that a page was closed in the middle of it."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def next_for(self, annotator: str, again: Answer | None = None) -> dict[str, Any]:
        """The next open question of an annotator, or the one of an answer that was taken back."""
        file = AnswerFile(self.run, annotator)
        answers = file.answers()
        following = next((one for one in self.asked if not answered(one, answers)), None)
        if again is not None:
            following = self.by_question.get(again.question, following)
        aspect = None if following is None else following.prompt.aspect
        return {
            "question": None if following is None else self._shown(following, file.annotator, again),
            "progress": progress(self.asked, answers, aspect),
        }

    def answer(self, annotator: str, values: Any) -> dict[str, Any]:
        """Keep an answer whose places are numbers of pictures as they were shown."""
        file = AnswerFile(self.run, annotator)
        aspect, number = values.get("aspect"), values.get("number")
        asked = (
            self.by_question.get((aspect, number))
            if isinstance(aspect, str) and type(number) is int
            else None
        )
        if asked is None:
            raise GalleryError("there is no such question any more; open the page again")
        shown, places = asked.shown_to(file.annotator), values.get("places")
        if not isinstance(places, list) or not all(
            isinstance(place, list) and all(type(n) is int and 0 <= n < len(shown) for n in place)
            for place in places
        ):
            raise GalleryError(
                f"an answer is a list of places, each a list of numbers of pictures; got {places!r}"
            )
        named = [[shown[number] for number in place] for place in places]
        file.add(replace(check_answer(named, asked.prompt, asked.members), pictures=asked.digests))
        return self.next_for(annotator)

    def undo(self, annotator: str) -> dict[str, Any]:
        """Take back the last answer to what is asked here, and ask its question again."""
        here = {question: asked.prompt.text for question, asked in self.by_question.items()}
        taken = AnswerFile(self.run, annotator).undo(here)
        return {**self.next_for(annotator, taken), "undone": taken is not None}

    def _shown(self, asked: Asked, annotator: str, again: Answer | None) -> dict[str, Any]:
        # Before the page fetches them: a picture that changes meanwhile is asked about again.
        digests = asked.digests
        shown = asked.shown_to(annotator)
        aspect, number = asked.question
        before: list[list[int]] = []
        same = again is not None and (again.question, again.prompt) == (asked.question, asked.prompt.text)
        if again is not None and same and again.members == frozenset(shown) and again.is_of(digests):
            before = [[shown.index(member) for member in place] for place in again.places]
        return {
            "aspect": aspect,
            "number": number,
            "prompt": asked.prompt.text,
            # By number alone: a name would tell whose picture it is. Behind a sign, because browsers take
            # dots alone for folders.
            "pictures": [
                f"picture/{aspect}/{number}/{n}/~{quote(annotator, safe='')}" for n in range(len(shown))
            ],
            "places": before,
        }


class _Handler(BaseHTTPRequestHandler):
    server: RankingServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            self._get()
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    def do_POST(self) -> None:
        try:
            self._post()
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    def _get(self) -> None:
        parts = self._path()
        if parts is None:
            return
        if len(parts) == 5 and parts[0] == "picture":
            self._picture(*parts[1:])
            return
        name = "index.html" if parts == [""] else "/".join(parts)
        # Looked for among those that are there: what is sent need not be the name of a file at all.
        file = next((one for one in PAGE.iterdir() if one.name == name and one.suffix in _TYPES), None)
        if file is not None:
            self._send(HTTPStatus.OK, file.read_bytes(), _TYPES[file.suffix])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self) -> None:
        parts = self._path()
        if parts is None:
            return
        actions = {"next": self._next, "answer": self._answer, "undo": self._undo}
        length = self.headers.get("Content-Length", "")
        # A form of another page cannot send this type without asking first.
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        if len(parts) != 1 or parts[0] not in actions or kind != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such question")
            return
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the answer is too long")
            return
        try:
            values = json.loads(self.rfile.read(int(length)))
            if not isinstance(values, dict) or not isinstance(values.get("annotator"), str):
                raise GalleryError("an answer needs the annotator's name")
            found = actions[parts[0]](values)
        except RecursionError:
            self._refuse(HTTPStatus.BAD_REQUEST, "the answer is nested too deeply")
            return
        except (ValueError, OSError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._send_json(HTTPStatus.OK, found)

    def _next(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.server.next_for(values["annotator"])

    def _answer(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.server.answer(values["annotator"], values)

    def _undo(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.server.undo(values["annotator"])

    def _picture(self, aspect: str, number: str, shown: str, annotator: str) -> None:
        question = (aspect, int(number)) if number.isdecimal() else ("", 0)
        asked = self.server.by_question.get(question)
        if asked is None or not shown.isdecimal() or int(shown) >= len(asked.members):
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such picture")
            return
        member = asked.shown_to(check_name(unquote(annotator.removeprefix("~"))))[int(shown)]
        try:
            content = picture_file(self.server.run, member, asked.prompt).read_bytes()
        except OSError as error:
            self._refuse(HTTPStatus.NOT_FOUND, f"the picture cannot be read: {error.strerror}")
            return
        self._send(HTTPStatus.OK, content, "image/png")

    def _path(self) -> list[str] | None:
        """What follows the token; None, and a refusal is sent, without it or under another host's name."""
        port = self.server.server_address[1]
        # A page elsewhere whose name was made to lead here would come under that name.
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
            return None
        first, *rest = urlsplit(self.path).path.removeprefix("/").split("/")
        if not rest or not secrets.compare_digest(first.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "open the whole address that the program printed")
            return None
        return rest

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        # What was not read of a request must not be taken for the next one.
        self.close_connection = True
        self._send_json(status, {"error": reason})

    def _send_json(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        self._send(status, json.dumps(values, ensure_ascii=False).encode("utf-8"), _TYPES[".json"])

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for the address and what went wrong."""
