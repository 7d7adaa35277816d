"""The provider: what it was sent, what it made of that, and what it shows of it, when."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import structlog

from imagejobs.edges.connections import CONNECT_SECONDS, SEND_SECONDS
from imagejobs.edges.dialects import Page, Prediction
from imagejobs.edges.provider import NotListed
from imagejobs.edges.webhooks import AttemptTag, read_tag
from imagejobs.errors import Cause, NotSent, OutcomeUnknown, Permanent, Refused, Throttled, Transient
from imagejobs.settings import Settings
from tests.simulation.weather import Weather
from tests.simulation.world import EPOCH, World

DATA_SECONDS = 3600.0  # inputs are shown for this long


@dataclass(eq=False)
class Made:
    """One accepted create, and how it will go. Times by the world's clock."""

    number: int
    version: str
    input: Mapping[str, Any]
    sender: tuple[str, int]  # the job's row and attempt
    created: float
    runs_at: float
    ends_at: float
    deadline: float
    fate: str
    shown_at: float
    keep_seconds: float
    outputs: int
    tag: AttemptTag | None = None  # what its webhook names
    excuse: str | None = None  # why it may be unknown for a while: sent late, or shown late
    gone_at: float | None = None
    canceled_at: float | None = None

    @property
    def id(self) -> str:
        """As the provider names it."""
        return f"p{self.number}"

    @property
    def end(self) -> tuple[float, str]:
        """When it ends or ended, and how."""
        ends = [(self.ends_at, self.fate), (self.deadline, "canceled" if self.runs_at < self.deadline else "aborted")]
        ends += [] if self.canceled_at is None else [(self.canceled_at, "canceled")]
        return min(ends)

    def status(self, now: float) -> str:
        """What it shows at that moment."""
        at, how = self.end
        return how if now >= at else "starting" if now < self.runs_at else "processing"

    def keeps(self, now: float) -> bool:
        """Whether its outputs can be fetched."""
        at, how = self.end
        return how == "succeeded" and at <= now < min(at + self.keep_seconds, self.gone_at or now + 1)

    def addresses(self) -> tuple[str, ...]:
        """Where its outputs are."""
        return tuple(f"https://out.example/{self.id}/out-{index}.png" for index in range(self.outputs))


@dataclass
class Post:
    """A create on its way."""

    version: str
    input: Mapping[str, Any]
    sender: tuple[str, int]
    cancel_after_seconds: float
    webhook: str | None
    limit: float  # when it should have arrived at the latest, for what the ledger may conclude
    answer: Prediction | Exception | None = None


@dataclass
class SimulatedProvider:
    """As `imagejobs.edges.provider.Provider`, and raises what that raises."""

    world: World
    weather: Weather
    settings: Settings
    page: int = 4
    skew: float = 0.0  # seconds that its clock is ahead of ours
    shows_versions: bool = True
    has_list: bool = True
    refuses_until: float = 0.0
    made: list[Made] = field(default_factory=list)
    tell: Callable[[AttemptTag, Prediction], None] | None = None  # what hears its webhooks
    sending: Any = None  # asked at every POST: the invariants' own look at it

    def create(
        self,
        *,
        version: str,
        input: Mapping[str, Any],  # noqa: A002 - the provider's own word
        cancel_after_seconds: float,
        webhook: str | None = None,
    ) -> Prediction:
        """One POST. Whoever sent it may die or freeze meanwhile; it arrives all the same, once it has left."""
        context = structlog.contextvars.get_contextvars()
        sender = (str(context["job_id"]), int(context["attempt"]))
        intended = self.sending(sender, input)
        self.world.pause(f"create {sender}")
        if self.weather.strikes("create_refused"):
            raise NotSent("connection refused")
        limit = intended + 5.0 + CONNECT_SECONDS + SEND_SECONDS
        post = Post(version, input, sender, cancel_after_seconds, webhook, limit)
        choices, slow = self.weather.choices, self.weather.strikes("create_slow")
        on_its_way = choices.between("arrives", 0.0, SEND_SECONDS if slow else 0.3)
        answered = on_its_way + choices.between("answers", 0.0, self.settings.read_seconds if slow else 0.3)
        self.world.later(on_its_way, f"arrives {sender}", lambda: self._arrive(post))
        began = self.world.now
        self.world.pause("answered", answered)
        has_slept = self.world.now - began > on_its_way + self.settings.read_seconds + SEND_SECONDS
        if has_slept and choices.chance("timed out", 0.5):
            raise OutcomeUnknown("the reply dragged on")
        if isinstance(post.answer, Exception):
            raise post.answer
        assert post.answer is not None
        return post.answer

    def _arrive(self, post: Post) -> None:
        refusal = self._refusal()
        if refusal is not None:
            post.answer = refusal
            return
        if self.weather.strikes("create_5xx"):
            post.answer = OutcomeUnknown("503")
            return
        made = self._make(post)
        self.made.append(made)
        self.world.note(f"accepted {made.id} of {post.sender}, {made.fate}")
        self._tell_of(made)
        lost = self.weather.strikes("create_lost")
        post.answer = OutcomeUnknown("no reply") if lost else self._show(made, in_list=False)

    def _refusal(self) -> Exception | None:
        if self.refuses_until > self.world.now:
            return Refused("402: monthly spend limit reached")
        if self.weather.strikes("create_429"):
            wait = self.weather.choices.between("wait", 0.5, 10.0)
            return Throttled("429", after_seconds=wait if self.weather.choices.chance("says", 0.5) else None)
        if self.weather.strikes("create_invalid"):
            return Permanent("422: width", cause=Cause.INPUT)
        return None

    def _make(self, post: Post) -> Made:
        world, weather, choices = self.world, self.weather, self.weather.choices
        starts = choices.between("starts", 0.1, 60.0 if weather.strikes("prediction_slow") else 3.0)
        runs = choices.between("runs", 0.5, 90.0 if weather.strikes("prediction_slow") else 8.0)
        fate = "failed" if weather.strikes("prediction_fails") else "succeeded"
        fate = "aborted" if weather.strikes("prediction_aborts") else fate
        lag = choices.between("lag", 0.0, self.settings.settle_seconds)
        excuse = None if world.now <= post.limit else "sent late"
        if weather.strikes("list_lags"):
            lag, excuse = lag + choices.between("lag", 0.0, 100.0), excuse or "shown late"
        return Made(
            number=len(self.made) + 1,
            version=post.version,
            input=dict(post.input),
            sender=post.sender,
            created=world.now,
            runs_at=world.now + starts,
            ends_at=world.now + starts + runs,
            deadline=world.now + post.cancel_after_seconds,
            fate=fate,
            shown_at=world.now + lag,
            keep_seconds=self.settings.keep_seconds,
            outputs=int(post.input.get("num_outputs", 1)),
            tag=read_tag(post.webhook),
            excuse=excuse,
        )

    def _tell_of(self, made: Made) -> None:
        """Webhooks, at its start and at its end: some lost, some twice, some late, and so in any order."""
        if made.tag is None or self.tell is None:
            return
        for seconds in (0.0, made.end[0] - self.world.now):
            self.world.later(seconds, "", lambda: self._tell(made))

    def _tell(self, made: Made) -> None:
        said, choices = self._show(made, in_list=False), self.weather.choices
        for _ in range(1 + self.weather.strikes("webhook_doubled")):
            delay = choices.between("told", 0.0, 60.0 if self.weather.strikes("webhook_late") else 1.0)
            if not self.weather.strikes("webhook_lost") and made.tag is not None and self.tell is not None:
                self.world.later(delay, f"webhook of {made.id}", partial(self.tell, made.tag, said))

    def get(self, prediction_id: str) -> Prediction:
        """One prediction."""
        self.world.pause(f"get {prediction_id}")
        self._stumble("look_fails")
        return self._show(self.made[int(prediction_id[1:]) - 1], in_list=False)

    def cancel(self, prediction_id: str) -> Prediction | None:
        """Ends it, if it has not ended."""
        self.world.pause(f"cancel {prediction_id}")
        self._stumble("look_fails")
        made = self.made[int(prediction_id[1:]) - 1]
        if self.world.now < made.end[0] and made.canceled_at is None:
            made.canceled_at = self.world.now
        return self._show(made, in_list=False)

    def list(self, *, created_after: float, cursor: str | None = None) -> Page:
        """Newest first. A prediction that is shown late appears where it belongs."""
        slow = self.weather.strikes("list_slow")
        self.world.pause("list", self.weather.choices.between("list", 0.0, 8.0 if slow else 0.2))
        if not self.has_list:
            raise NotListed("no list")
        self._stumble("list_fails")
        now, since = self.world.now, created_after - EPOCH
        before = int(cursor) if cursor else len(self.made) + 1
        shown = [one for one in reversed(self.made) if one.number < before and one.created >= since]
        shown = [one for one in shown if one.shown_at <= now]
        page = shown[: self.page]
        more = str(page[-1].number) if len(shown) > self.page else None
        answer = Page(predictions=tuple(self._show(one, in_list=True) for one in page), next_cursor=more)
        self.world.pause("listed", self.weather.choices.between("listed", 0.0, 8.0 if slow else 0.2))
        return answer

    def _stumble(self, fault: str) -> None:
        if self.refuses_until > self.world.now:
            raise Refused("402: monthly spend limit reached")
        if self.weather.strikes(fault):
            kinds = (Transient("502"), Throttled("429", after_seconds=1.5), Transient("timed out"))
            raise kinds[self.weather.choices.pick("kind", len(kinds))]

    def _show(self, made: Made, *, in_list: bool) -> Prediction:
        now = self.world.now
        at, how = made.end
        is_over = now >= at
        is_kept = now < at + made.keep_seconds
        return Prediction(
            id=made.id,
            status=made.status(now),
            output=made.addresses() if is_over and how == "succeeded" and is_kept else None,
            input=dict(made.input) if now < made.created + DATA_SECONDS else {},
            version=made.version if self.shows_versions or not in_list else None,
            error="the GPU stumbled" if is_over and how == "failed" else None,
            created_at=EPOCH + made.created + self.skew,
            completed_at=EPOCH + at + self.skew if is_over else None,
            deadline=EPOCH + made.deadline + self.skew,
            predict_time_s=at - made.runs_at if is_over else None,
            data_removed=is_over and not is_kept,
            tag=made.tag,
        )


@lru_cache(maxsize=4096)
def picture(address: str) -> bytes:
    """The PNG at this address: one pixel, and its own name, so that no two are alike."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(b"tEXt", b"Title\0" + address.encode())
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
