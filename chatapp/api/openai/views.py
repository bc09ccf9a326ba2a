"""/v1: models and chat completions for programs. They parse and answer; calls.py does the work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gevent
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_login import current_user
from gevent.queue import Empty

from chatapp.api.openai import asking, calls, errors, shapes
from chatapp.api.openai.calls import Call, Ended
from chatapp.api.openai.leaving import watched
from chatapp.api.views import limit_sends
from chatapp.auth import sessions
from chatapp.kernel.database import release
from chatapp.kernel.errors import InvalidRequest, Unauthenticated
from chatapp.kernel.origins import is_bearer
from chatapp.providers.registry import providers
from chatapp.turns.live.listeners import ListenerSlot, sse_headers
from chatapp.turns.live.process import live_turns

bp = Blueprint("endpoint", __name__, url_prefix="/v1")

HEADERS = sse_headers("no-cache, no-transform")
SILENCE_SECONDS = 15.0
# Until something came, a provider's refusal can still be a status of its own.
STATUS_SECONDS = 15.0
WHOLE_SECONDS = 30.0
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
KNOWN = "This endpoint has GET /v1/models, GET /v1/models/<id> and POST /v1/chat/completions"


@bp.record_once
def shape_errors(state: BlueprintSetupState) -> None:
    state.app.extensions["error_shapes"][bp.name] = errors.response_to


@bp.before_request
def require_key() -> None:
    if not is_bearer() or not current_user.is_authenticated:
        raise Unauthenticated("Send a personal key of this site: Authorization: Bearer <key>")


@bp.get("/models")
def models() -> ResponseReturnValue:
    return jsonify(object="list", data=[_model(info.id) for info in providers().models()])


@bp.get("/models/<path:model_id>")
def model(model_id: str) -> ResponseReturnValue:
    if model_id not in {info.id for info in providers().models()}:
        raise calls.no_such_model(model_id)
    return jsonify(_model(model_id))


@bp.post("/chat/completions")
@limit_sends
def complete() -> ResponseReturnValue:
    asked = asking.read()
    identity = sessions.identity()
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    with live_turns().listeners.open_slot(current_user.id) as slot:
        call = calls.begin(app, current_user.id, asked, lambda: sessions.is_good(identity))
        release()
        return _answer(call, asked, slot)


@bp.route("/<path:rest>", methods=METHODS)
def unknown(rest: str) -> ResponseReturnValue:
    is_known = rest in ("models", "chat/completions")
    raise InvalidRequest(f"Nothing is at {request.method} /v1/{rest[:100]}. {KNOWN}", status=405 if is_known else 404)


def _model(model_id: str) -> dict[str, Any]:
    return shapes.model(providers().model(model_id), providers().for_model(model_id).name)


def _answer(call: Call, asked: asking.Asked, slot: ListenerSlot) -> Response:
    shape = shapes.Shape(call.id.hex, call.created, asked.model, with_usage=asked.with_usage)
    leaving = watched(request.environ.get("gunicorn.socket"), call.stop)

    def end() -> None:
        """The response is over, or its reader is gone. What has ended by itself cannot be stopped any more."""
        leaving.kill(block=False)
        call.stop()
        slot.release()

    try:
        if asked.is_streamed:
            first = _next(call, STATUS_SECONDS)
            _raise_error(first)
            response = Response(_events(call, shape, first), headers=HEADERS)
        else:
            ended = _whole(call, WHOLE_SECONDS)
            _raise_error(ended)
            body = _document(shape, ended) if ended else _slowly(call, shape)
            response = Response(body, mimetype="application/json", headers={"X-Accel-Buffering": "no"})
    except BaseException:
        end()
        raise
    response.call_on_close(end)
    return response


def _next(call: Call, seconds: float) -> Any:
    """Return what is heard next; None if nothing is for so long."""
    try:
        return call.heard.get(timeout=seconds)
    except Empty:
        return None


def _whole(call: Call, seconds: float) -> Ended | None:
    """Wait for the end; None if it does not come within these seconds."""
    with gevent.Timeout(seconds, False):
        while True:
            if isinstance(heard := call.heard.get(), Ended):
                return heard
    return None


def _raise_error(heard: Any) -> None:
    if isinstance(heard, Ended) and heard.error is not None:
        raise heard.error


def _document(shape: shapes.Shape, ended: Ended) -> str:
    if ended.error is not None:
        return json.dumps(errors.body_of(ended.error), ensure_ascii=False)
    return json.dumps(shape.whole(ended.text, ended.thoughts, ended.finish, _used(ended)), ensure_ascii=False)


def _slowly(call: Call, shape: shapes.Shape) -> Iterator[str]:
    """Yield blanks, which JSON may begin with, until the answer is there: proxies and clients give up on silence."""
    ended = None
    while ended is None:
        yield " "
        ended = _whole(call, SILENCE_SECONDS)
    yield _document(shape, ended)


def _events(call: Call, shape: shapes.Shape, heard: Any) -> Iterator[str]:
    yield shape.chunk({"role": "assistant", "content": ""})
    while not isinstance(heard, Ended):
        if heard is None:
            yield shapes.KEEP_ALIVE
        else:
            yield shape.chunk(_delta(heard.delta, heard.thought))
        heard = _next(call, SILENCE_SECONDS)
    if heard.error is not None:
        # Without [DONE]: an end that says nothing would be taken for a whole answer.
        yield shapes.event(errors.body_of(heard.error))
        return
    yield shape.chunk({}, heard.finish)
    yield shape.last(_used(heard)) + shapes.DONE


def _delta(text: str, thought: str) -> dict[str, str]:
    said = {"content": text} if text else {}
    return said | ({"reasoning_content": thought} if thought else {})


def _used(ended: Ended) -> dict[str, Any]:
    return shapes.usage(ended.used, ended.charged_tokens, ended.remaining_tokens)
