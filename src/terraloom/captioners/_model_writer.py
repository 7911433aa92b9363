"""A writer that asks a model: prompts in, texts judged and corrected, every answer kept.

What member modules add is a backend: how requests reach a model and how its texts come back.
"""

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from terraloom.captioners._answers import Answer, AnswerStore, Asked
from terraloom.captioners._face import VISIBLE, Caption, Failure, Rewrite, Scene, Visible
from terraloom.captioners._prompts import (
    FORBIDDEN,
    Decoding,
    ModelMode,
    NothingToTell,
    Preset,
    Prompt,
    Prompter,
    decoding_of,
    with_feedback,
)
from terraloom.captioners._texts import clean_text, find_fault
from terraloom.classes import ClassTable
from terraloom.errors import RunError
from terraloom.seeds import derive_seed

_KEY_FORMAT: Final = 1
"""Raised where the same question is worth another answer."""
_SEED_MASK: Final = 0x7FFF_FFFF
"""Servers take seeds of 31 bits."""


class ModelSettings(BaseModel):
    """What all writers that ask a model are told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """Name of the model, as its server or publisher calls it."""
    revision: str | None = None
    """Edition of the model; kept with every caption, and another one is asked anew."""
    mode: ModelMode = "vision-language"
    """What the model is shown: the image, facts of the mask (or class shares), or both."""
    prompt: Preset = "grounded"
    """grounded: facts in words, no figures; paper: class shares in percent, as published."""
    captions_per_image: int | None = Field(default=None, ge=1, le=20)
    """How many captions each image gets; left out, 5, or 1 for the paper preset where its decoding
    is greedy (which would write the same five times)."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 is greedy; left out, the preset's."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus of sampling; left out, the preset's."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Most new tokens of an answer; left out, the preset's. Longer answers are refused."""
    corrections: int = Field(default=2, ge=0, le=10)
    """How often a text with digits, an empty one, a cut-off one … is sent back before the caption
    counts as failed."""
    forbidden_words: tuple[str, ...] = FORBIDDEN
    """Words that captions of the grounded preset must not hold."""
    stop_after: int = Field(default=50, ge=1)
    """So many failures in a row stop the run: something is wrong with the model, not the images."""

    @field_validator("forbidden_words")
    @classmethod
    def _plain(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.strip().lower() for word in value if word.strip())

    @model_validator(mode="after")
    def _varied(self) -> "ModelSettings":
        if self.prompt == "paper" and (self.captions_per_image or 1) > 1 and self.is_greedy:
            raise ValueError(
                f"captions_per_image = {self.captions_per_image} with greedy decoding would write "
                "one caption so many times; set temperature, or captions_per_image = 1"
            )
        return self

    @property
    def decoding(self) -> Decoding:
        """The preset's decoding with what is set otherwise."""
        base = decoding_of(self.prompt, self.mode)
        return Decoding(
            base.temperature if self.temperature is None else self.temperature,
            base.top_p if self.top_p is None else self.top_p,
            base.max_tokens if self.max_tokens is None else self.max_tokens,
        )

    @property
    def is_greedy(self) -> bool:
        """Whether the same prompt brings the same answer."""
        return self.decoding.temperature == 0

    @property
    def count(self) -> int:
        """Captions of an image."""
        if self.captions_per_image is not None:
            return self.captions_per_image
        return 1 if self.prompt == "paper" and self.is_greedy else 5

    @property
    def told_model(self) -> str:
        """Model and revision as captions tell them."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One question to a model."""

    key: str
    """Unique in its batch, and the same after a resume."""
    prompt: Prompt
    seed: int
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote."""

    text: str
    finish: Literal["stop", "length", "refused"]
    attempts: int = 1
    """Tries until it came."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a question got no answer."""

    message: str
    transient: bool
    """The next run tries again by itself."""
    attempts: int = 1


class Backend(Protocol):
    """How questions reach a model."""

    @property
    def secret(self) -> str | None:
        """A key that must never be stored; None where there is none."""

    def complete(
        self, requests: Sequence[Request]
    ) -> Generator[tuple[Request, Reply | Trouble], None, None]:
        """Each request with what came of it, as it comes, in any order.

        Raises:
            InputError: no request of this kind can succeed (key, model name, settings).
            RunError: the server is gone.
        """


@dataclass(slots=True, eq=False)
class _Task:
    """One caption to be had."""

    asked: Asked
    first: Prompt
    saw: tuple[Visible, ...]
    taken: list[str]
    """The sample's other captions; shared by its tasks."""
    corrections: int = 0
    attempts: int = 0
    seconds: float = 0.0
    started: float = 0.0
    prompt: Prompt = field(init=False)
    """What is asked next."""

    def __post_init__(self) -> None:
        self.prompt = self.first

    def correct(self, text: str, correction: str) -> None:
        """Go on with what was refused last; earlier drafts are no part of the question."""
        self.corrections += 1
        # An empty turn is refused by many chat templates.
        self.prompt = self.first.answered(text or "…", correction)


class ModelWriter:
    """A captioner over a backend; see `ModelCaptioner`.

    Each question has a seed of its own, derived from the writer's seed, sample, caption, round and
    correction. What comes back is not promised to be the same twice: it is kept instead.

    Args:
        name: member name.
        settings: model, mode, preset.
        classes: the class table.
        seed: of the writer.
        connect: makes the backend; called when the first question has to be asked, so that
            answers that are there need neither server nor weights.
        extra: whatever else decides answers; part of the key.
        told_model: the model as captions tell it; left out, as the settings name it.
    """

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        classes: ClassTable,
        seed: int,
        connect: Callable[[], Backend],
        *,
        extra: dict[str, Any] | None = None,
        told_model: Callable[[], str] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.classes = classes
        self.seed = seed
        self.store = AnswerStore()
        self._connect = connect
        self._backend: Backend | None = None
        self._extra = extra or {}
        self._told = told_model or (lambda: settings.told_model)
        self._forbidden = settings.forbidden_words if settings.prompt == "grounded" else ()
        self._prompter = Prompter(settings.prompt, settings.mode, classes, self._forbidden, seed)
        self._failed_in_row = 0

    @property
    def sees(self) -> frozenset[Visible]:
        """What the prompt shows, and contradictions where a caption goes back."""
        return frozenset({*self._prompter.shows, "feedback"})

    @property
    def backend(self) -> Backend:
        """How the model is reached; connected on first use.

        Raises:
            InputError: no key, no package, no weights.
        """
        if self._backend is None:
            self._backend = self._connect()
        return self._backend

    def keep_in(self, folder: Path) -> None:
        """See ModelCaptioner."""
        self.store.close()
        self.store = AnswerStore(folder)

    def forget_failed(self) -> int:
        """See ModelCaptioner."""
        return self.store.forget_failed(self.name)

    def write(self, scenes: Sequence[Scene]) -> list[list[Caption | Failure]]:
        """See Captioner."""
        tasks: list[_Task] = []
        untold: dict[str, str] = {}
        for scene in scenes:
            taken: list[str] = []
            try:
                prompts = self._prompter.prompts(scene, self.settings.count)
            except NothingToTell as error:
                untold[scene.sample_id] = str(error)
                continue
            for index, prompt in enumerate(prompts):
                tasks.append(self._task(scene, index, 0, prompt, taken))
        settled = iter(self._settle(tasks))
        return [
            [
                Failure(scene.sample_id, index, 0, untold[scene.sample_id])
                if scene.sample_id in untold
                else next(settled)
                for index in range(self.settings.count)
            ]
            for scene in scenes
        ]

    def rewrite(self, rewrites: Sequence[Rewrite]) -> list[Caption | Failure]:
        """See ModelCaptioner.

        Raises:
            ValueError: a scene comes without feedback.
        """
        tasks = []
        for back in rewrites:
            if back.scene.feedback is None:
                raise ValueError(f"{back.scene.sample_id}: goes back without feedback")
            first = self._prompter.prompts(back.scene, back.index + 1)[back.index]
            prompt = with_feedback(first, back.text, back.scene.feedback)
            tasks.append(self._task(back.scene, back.index, back.round, prompt, list(back.taken)))
        return self._settle(tasks)

    def _task(
        self, scene: Scene, index: int, number: int, prompt: Prompt, taken: list[str]
    ) -> _Task:
        """A caption to be had; its key holds everything that the model is given."""
        shown = {*self._prompter.shows, *(("feedback",) if number else ())}
        question = {
            "format": _KEY_FORMAT,
            "writer": self.name,
            "model": self._told(),
            "extra": self._extra,
            "prompt": prompt.sha256,
            "image": prompt.image_sha256,
            "decoding": str(self.settings.decoding),
            "seed": self._seed_of(scene.sample_id, index, number, 0),
            "caption": [scene.sample_id, index, number],
        }
        key = sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        asked = Asked(
            key, self.name, self._told(), scene.sample_id, index, number
        )  # fmt: skip
        saw = tuple(v for v in VISIBLE if v in shown)
        return _Task(asked, prompt, saw, taken)

    def _seed_of(self, sample_id: str, index: int, number: int, correction: int) -> int:
        whole = derive_seed(self.seed, self.name, sample_id, index, number, correction)
        return whole & _SEED_MASK

    def _settle(self, tasks: Sequence[_Task]) -> list[Caption | Failure]:
        """Bring every task to its end, asking only for what was not answered before."""
        known = self.store.get([task.asked.key for task in tasks])
        results: dict[str, Caption | Failure] = {}
        todo: dict[str, _Task] = {}
        for task in tasks:
            answer = known.get(task.asked.key)
            if answer is None:
                todo[task.asked.key] = task
                continue
            task.attempts, task.seconds = answer.attempts, answer.seconds
            if answer.state == "done":
                assert answer.text is not None
                task.taken.append(answer.text)
                results[task.asked.key] = self._caption(task, answer)
            elif answer.state == "failed" and not answer.transient:
                results[task.asked.key] = self._failure(task, answer.reason)
            else:
                # A draft goes on with its correction; what failed in passing begins again.
                if answer.state == "draft":
                    task.corrections = answer.corrections
                    fault = json.loads(answer.reason or "{}")
                    task.correct(answer.text or "", fault.get("correction", ""))
                todo[task.asked.key] = task
        while todo:
            todo = self._ask(todo, results)
        return [results[task.asked.key] for task in tasks]

    def _ask(
        self, tasks: dict[str, _Task], results: dict[str, Caption | Failure]
    ) -> dict[str, _Task]:
        """Ask once for each task; what has to be corrected is left over."""
        left: dict[str, _Task] = {}
        requests = [
            Request(f"{key}-{task.corrections}", task.prompt, self._seed_now(task),
                    self.settings.decoding)
            for key, task in tasks.items()
        ]  # fmt: skip
        owners = {request.key: tasks[request.key.rpartition("-")[0]] for request in requests}
        for task in tasks.values():
            task.started = time.monotonic()
        stream = self.backend.complete(requests)
        try:
            for request, outcome in stream:
                task = owners.pop(request.key)
                task.attempts += outcome.attempts
                task.seconds += time.monotonic() - task.started
                ended = self._judge(task, outcome)
                if ended is None:
                    left[task.asked.key] = task
                else:
                    results[task.asked.key] = ended
        finally:
            stream.close()
        if owners:
            raise RunError(f"{self.name}: {len(owners)} questions came back without any outcome.")
        return left

    def _seed_now(self, task: _Task) -> int:
        asked = task.asked
        return self._seed_of(asked.sample_id, asked.index, asked.round, task.corrections)

    def _judge(self, task: _Task, outcome: Reply | Trouble) -> Caption | Failure | None:
        """Keep what came back; a caption, a failure, or None where a correction is due."""
        if isinstance(outcome, Trouble):
            return self._fail(task, outcome.message, outcome.transient)
        text = clean_text(outcome.text)
        fault = find_fault(
            text,
            finish=outcome.finish,
            forbidden=self._forbidden,
            taken=task.taken,
            secret=self.backend.secret,
        )
        if fault is None:
            self._failed_in_row = 0
            task.taken.append(text)
            answer = self._answer(task, "done", text=text)
            self.store.put(task.asked, answer)
            return self._caption(task, answer)
        if self.backend.secret:
            text = text.replace(self.backend.secret, "[key]")
        if task.corrections >= self.settings.corrections:
            return self._fail(task, f"the text was refused: {fault.reason}", transient=False)
        noted = json.dumps({"reason": fault.reason, "correction": fault.correction})
        self.store.put(task.asked, self._answer(task, "draft", text=text, reason=noted))
        task.correct(text, fault.correction)
        return None

    def _fail(self, task: _Task, message: str, transient: bool) -> Failure:
        self.store.put(
            task.asked, self._answer(task, "failed", reason=message, transient=transient)
        )
        self._failed_in_row += 1
        if self._failed_in_row >= self.settings.stop_after:
            raise RunError(
                f"{self._failed_in_row} captions in a row could not be had from "
                f"{self._told()}; the last: {message}. Captions that are there stay; "
                "look at the model or its settings, then run the same command again (with "
                "--retry-failed, those that failed are asked for again)."
            )
        return self._failure(task, message)

    def _answer(
        self,
        task: _Task,
        state: Literal["done", "draft", "failed"],
        *,
        text: str | None = None,
        reason: str | None = None,
        transient: bool = False,
    ) -> Answer:
        return Answer(
            state, text, reason, transient, task.corrections, task.attempts,
            task.prompt.sha256, self._seed_now(task), round(task.seconds, 3),
        )  # fmt: skip

    def _caption(self, task: _Task, answer: Answer) -> Caption:
        assert answer.text is not None
        return Caption(
            sample_id=task.asked.sample_id,
            index=task.asked.index,
            text=answer.text,
            writer=self.name,
            mode=self._prompter.mode,
            saw=task.saw,
            model=self._told(),
            prompt_sha256=answer.prompt_sha256,
            seed=answer.seed,
            decoding=str(self.settings.decoding),
        )

    def _failure(self, task: _Task, reason: str | None) -> Failure:
        asked = task.asked
        return Failure(asked.sample_id, asked.index, task.attempts, reason or "unknown")
