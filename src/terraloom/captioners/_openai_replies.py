"""What an OpenAI-compatible server says: replies read strictly, failures sorted by what to do."""

import datetime
import email.utils
import json
from collections.abc import Mapping
from typing import Any, Final

from terraloom.captioners._model_writer import Reply
from terraloom.errors import InputError, RunError, SettingsError
from terraloom.retrying import Transient, Unavailable

MAX_REPLY_BYTES: Final = 4_000_000
"""No answer of one or two sentences is longer, whatever surrounds it."""
_PASSING: Final = (408, 409, 425, 429)
_MOST_TOLD: Final = 300


def read_reply(data: bytes) -> Reply:
    """The first choice of a chat completion.

    Raises:
        Transient: the bytes are cut off, no UTF-8, no JSON, or no chat completion.
    """
    if len(data) > MAX_REPLY_BYTES:
        raise Transient(f"the reply has {len(data):,} bytes")
    try:
        body = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Transient("the reply is not UTF-8") from error
    except ValueError as error:
        raise Transient("the reply is cut off, or no JSON") from error
    return reply_of(body)


def reply_of(body: Any) -> Reply:  # noqa: ANN401 - whatever the server sent
    """The first choice of a parsed chat completion.

    Raises:
        Transient: it is no chat completion.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise Transient("the reply is JSON, but no chat completion") from error
    if isinstance(content, list):  # some servers answer in parts
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = " ".join(part for part in parts if isinstance(part, str))
    if refusal or finish == "content_filter":
        return Reply(content if isinstance(content, str) else "", "refused")
    return Reply(content if isinstance(content, str) else "", _FINISH.get(finish, "stop"))


_FINISH: Final[dict[Any, Any]] = {"length": "length", "max_tokens": "length"}


def failure_of(
    status: int,
    headers: Mapping[str, str],
    body: object,
    *,
    model: str,
    key_variable: str,
    secret: str | None,
) -> Exception:
    """What an answer with a status of failure means; its message never holds the key.

    Returns:
        `Transient` or `Unavailable` for this one question; an `InputError` or `RunError` where no
        question can succeed.
    """
    told = redacted(_message_in(body), secret)
    said = f"HTTP {status}" + (f": {told}" if told else "")
    if status in (401, 403):
        return SettingsError(
            f"the server refuses the key ({said}). Set the environment variable {key_variable} to "
            "a valid key."
        )
    if status == 404:
        return InputError(
            f"the server does not know the model {model!r}, or the address is wrong ({said}). "
            "Check model and base_url under [captioners.openai]; base_url mostly ends with /v1."
        )
    if status == 402 or _code_in(body) == "insufficient_quota":
        return RunError(
            f"the server's quota is used up ({said}). Captions that are there stay; run the same "
            "command again when there is quota."
        )
    if status in _PASSING or status >= 500:
        return Transient(said, retry_after(headers))
    return Unavailable(said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, 10.2.3: seconds or a date), or None."""
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        asked = headers.get("retry-after", "").strip()
        if not asked:
            return None
        if asked.replace(".", "", 1).isdigit():
            return float(asked)
        when = email.utils.parsedate_to_datetime(asked)
        return max((when - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None  # nonsense asks for nothing; the usual wait follows


def redacted(text: str, secret: str | None) -> str:
    """A message in one short line that does not hold the key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if secret:
        line = line.replace(secret, "[key]")
    return line if len(line) <= _MOST_TOLD else line[:_MOST_TOLD] + "…"


def _message_in(body: object) -> str:
    """The message of an error body: OpenAI's form, or what other servers send."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            inner = inner.get("message") or inner.get("detail") or ""
        return str(inner)
    return str(body) if isinstance(body, str) else ""


def _code_in(body: object) -> str:
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            return str(inner.get("code") or "")
    return ""
