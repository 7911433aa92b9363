"""The connection to an OpenAI-compatible server: bodies of requests, and errors as ours.

The package's own retries are off, since attempts are counted and waits are shared here. The key is
read from the environment, handed to the package, and to nothing else.
"""

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from terraloom.captioners._model_writer import Request
from terraloom.captioners._openai_replies import failure_of
from terraloom.errors import SettingsError
from terraloom.retrying import Transient
from terraloom.samples import encode_image

_OFFICIAL: Final = "api.openai.com"
_NO_KEY: Final = "none"
"""What servers without keys are sent, since the package wants one."""

T = TypeVar("T")


class Unreachable(Transient):
    """Nobody answers at the address."""


def key_from(variable: str, base_url: str) -> str | None:
    """The key in the environment; None where it is not set and the server may need none.

    Raises:
        SettingsError: it is not set, and the server is OpenAI's.
    """
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if urlsplit(base_url).hostname == _OFFICIAL:
        raise SettingsError(
            f"captioners.openai asks {_OFFICIAL}, and the environment variable {variable} is not "
            f"set. Run: export {variable}=… (or set base_url to a server of your own)."
        )
    return None


class OpenAIClient:
    """One server, one model.

    Args:
        base_url: such as http://localhost:8000/v1.
        secret: the key, or None.
        model: as the server calls it.
        timeout_s: of one request.
        token_limit: name of the parameter that limits new tokens.
        send_seed: whether requests carry their seed.
        extra_body: further parameters of every request.
        key_variable: where the key came from, for messages.
    """

    def __init__(
        self,
        base_url: str,
        secret: str | None,
        model: str,
        *,
        timeout_s: float,
        token_limit: str,
        send_seed: bool,
        extra_body: Mapping[str, Any],
        key_variable: str,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise SettingsError(
                "captioners.openai needs a package that is not installed; run: "
                'pip install "terraloom[openai]".'
            ) from error
        self.secret = secret
        self._openai = openai
        self._model = model
        self._base_url = base_url
        self._token_limit = token_limit
        self._send_seed = send_seed
        self._extra_body = dict(extra_body)
        self._key_variable = key_variable
        self.raw = openai.OpenAI(
            api_key=secret or _NO_KEY, base_url=base_url, timeout=timeout_s, max_retries=0
        )

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body of one chat completion."""
        decoding = request.decoding
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages_of(request),
            "temperature": decoding.temperature,
            self._token_limit: decoding.max_tokens,
        }
        if decoding.temperature > 0:
            body["top_p"] = decoding.top_p
        if self._send_seed:
            body["seed"] = request.seed
        return {**body, **self._extra_body}

    def chat(self, request: Request) -> bytes:
        """The bytes of the reply to one chat completion.

        Raises:
            Transient: worth another try.
            Unavailable: this request will never be answered.
            InputError: no request will.
        """
        body = self.body(request)
        return self.called(
            lambda: bytes(
                self.raw.post(
                    "/chat/completions", body=body, cast_to=self._openai.HttpxBinaryResponseContent
                ).content
            )
        )

    def called(self, call: Callable[[], T]) -> T:
        """The result of a call of the package, its errors turned into ours.

        Raises:
            Transient: worth another try.
            Unavailable: this request will never be answered.
            InputError: no request will.
            RunError: the quota is used up.
        """
        openai = self._openai
        try:
            return call()
        except openai.APITimeoutError as error:
            raise Transient("the server did not answer in time") from error
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            if cause == "ConnectError":
                raise Unreachable(f"nobody answers at {self._base_url}") from error
            raise Transient(f"the connection broke ({cause})") from error
        except openai.APIStatusError as error:
            failure = failure_of(
                error.status_code,
                error.response.headers,
                error.body,
                model=self._model,
                key_variable=self._key_variable,
                secret=self.secret,
            )
            # `from None`: the original holds the request, and with it the key.
            raise failure from None
        except (openai.APIError, ValueError) as error:
            raise Transient(f"the reply cannot be read ({type(error).__name__})") from error


def messages_of(request: Request) -> list[dict[str, Any]]:
    """Turns as chat messages; the image as a PNG data URL in the first user turn."""
    messages: list[dict[str, Any]] = []
    image = request.prompt.image
    for turn in request.prompt.turns:
        content: Any = turn.text
        if turn.role == "user" and image is not None:
            url = "data:image/png;base64," + base64.b64encode(encode_image(image)).decode()
            content = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": turn.text},
            ]
            image = None
        messages.append({"role": turn.role, "content": content})
    return messages
