"""Any OpenAI-compatible server (vLLM, Ollama, llama.cpp, OpenAI), by chat or by batch.

Keys come from the environment alone. Answers are kept as they arrive, so nothing that was finished
is asked for again; a failed caption is a row of `errors/`, never a caption.
"""

from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from terraloom.captioners._answers import AnswerStore
from terraloom.captioners._face import ModelCaptioner
from terraloom.captioners._model_writer import Backend, ModelSettings, ModelWriter
from terraloom.classes import ClassTable
from terraloom.retrying import RetrySettings

_NAME: Final = "openai"


class Settings(ModelSettings):
    """Settings of the openai captioner."""

    base_url: str = "http://localhost:8000/v1"
    """Address of the server; vLLM listens at port 8000, Ollama at 11434, llama.cpp at 8080, OpenAI
    is https://api.openai.com/v1."""
    api_key_variable: str = Field(
        default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
    )
    """Name of the environment variable that holds the key; never the key itself. Servers of your
    own mostly need none."""
    route: Literal["chat", "batch"] = "chat"
    """chat: one request per caption; batch: files of requests, worked off within a day for less
    money, where the server offers it."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at one time (chat)."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most requests in a minute, evenly spaced (chat); left out, no limit but the server's, whose
    Retry-After makes all requests wait."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # noqa: S105
    """Name of the parameter that limits an answer; OpenAI's newer models take the second."""
    send_seed: bool = True
    """Send each caption's seed; for servers that refuse it, false. The record tells it anyway."""
    extra_body: dict[str, Any] = Field(default={})
    """Further parameters of every request, as the server takes them: for instance
    { chat_template_kwargs = { enable_thinking = false } } for Qwen3 on vLLM."""
    retry: RetrySettings = RetrySettings(timeout_s=120.0)
    """How often a request is made again, and when it is given up."""
    poll_s: float = Field(default=30.0, gt=0)
    """Seconds between two looks at a batch."""

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            # Settings are copied into the project; whatever stands here would lie there.
            raise ValueError(
                "must hold neither a user, a password nor a query, since settings are stored; "
                "put the key into the environment (api_key_variable)"
            )
        return value.rstrip("/")


def build(settings: Settings, classes: ClassTable, seed: int) -> ModelCaptioner:
    """A captioner that asks a server; `seed` is sent along, and promises nothing."""

    def connect() -> Backend:
        from terraloom.captioners._openai_batch import BatchBackend
        from terraloom.captioners._openai_chat import ChatBackend
        from terraloom.captioners._openai_client import OpenAIClient, key_from

        client = OpenAIClient(
            settings.base_url,
            key_from(settings.api_key_variable, settings.base_url),
            settings.model,
            timeout_s=settings.retry.timeout_s,
            token_limit=settings.token_limit,
            send_seed=settings.send_seed,
            extra_body=settings.extra_body,
            key_variable=settings.api_key_variable,
        )
        if settings.route == "batch":
            return BatchBackend(client, store, settings.retry, poll_s=settings.poll_s)
        return ChatBackend(
            client,
            settings.retry,
            concurrency=settings.concurrency,
            per_minute=settings.requests_per_minute,
        )

    writer = ModelWriter(
        _NAME, settings, classes, seed, connect, extra={"body": settings.extra_body}
    )

    def store() -> AnswerStore:
        return writer.store

    return writer
