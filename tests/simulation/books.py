"""The invariants: what must hold after every step, whatever went wrong, and what at the end.

They are read from the outside: the database's rows by plain SQL, the provider's own record, and the store's bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from imagejobs.job import canonical_json
from imagejobs.layout import MARKER, extension_of, file_key, image_key, part_key
from imagejobs.states import FINAL, TRANSITIONS, State
from tests.simulation.database import SimulatedDatabase
from tests.simulation.provider import Made, SimulatedProvider, picture
from tests.simulation.store import SimulatedStore
from tests.simulation.world import Red, World
from worker.stages.submit import POST_WITHIN_SECONDS

COUNTED = ", ".join(f"{state.value}" for state in State)
Sender = tuple[str, int]
Standing = tuple[State, int]  # a job's state, in which attempt


class Books:
    """Kept beside the run, and compared with it."""

    def __init__(
        self, world: World, database: SimulatedDatabase, provider: SimulatedProvider, store: SimulatedStore
    ) -> None:
        self._world = world
        self._database = database
        self._provider = provider
        self._store = store
        self._seen_commits = -1
        self._seen_made = 0
        self._states: dict[int, Standing] = {}
        self._intents: dict[Sender, float] = {}
        self._posts: Counter[Sender] = Counter()
        self.open: dict[str, Made] = {}  # accepted, and in no attempt
        provider.sending = self.sending

    @property
    def jobs(self) -> int:
        """How many there were."""
        return len(self._states)

    def sending(self, sender: Sender, given: Mapping[str, Any]) -> float:
        """Just before a POST leaves. Returns when its intent was committed."""
        self._posts[sender] += 1
        if sender not in self._intents:
            raise Red(f"a POST for {sender} without a committed intent")
        if self._posts[sender] > 1:
            raise Red(f"a second POST for {sender}")
        age = self._world.now - self._intents[sender]
        if age > POST_WITHIN_SECONDS + 1e-6:
            raise Red(f"a POST for {sender} {age:.3f} s after its committed intent")
        row, attempt = sender
        for made in self._provider.made:
            if made.sender[0] == row and made.sender[1] < attempt and made.keeps(self._world.now):
                self._expect_paid_again(made)
        return self._intents[sender]

    def _expect_paid_again(self, made: Made) -> None:
        """A job is generated once more while an earlier prediction's outputs can still be fetched: never by itself."""
        query = "SELECT a.outcome, a.cause FROM attempts a WHERE a.prediction_id = ?"
        found = self._database.raw.execute(query, (made.id,)).fetchone()
        if found is not None and found[0] == "lost":
            raise Red(f"{made.sender} is generated again, and {made.id} can still be fetched")

    def check(self) -> None:
        """After a step."""
        if self._database.commits != self._seen_commits:
            self._seen_commits = self._database.commits
            self._check_rows()
            self._check_known()
        elif len(self._provider.made) != self._seen_made:
            self._check_known()

    def _check_rows(self) -> None:
        raw = self._database.raw
        counts: dict[int, Counter[str]] = {}
        names = {}
        for job, batch, row, state, attempt, outputs in raw.execute(
            "SELECT id, batch_id, row_id, state, attempt, outputs FROM jobs"
        ):
            counts.setdefault(batch, Counter())[state] += 1
            names[job] = row
            before = self._states.get(job)
            if before != (state, attempt):
                if before is not None:
                    self._check_move(job, row, (before, (State(state), attempt)), outputs=outputs)
                self._states[job] = (State(state), attempt)
        for job, number in raw.execute("SELECT job_id, number FROM attempts"):
            if job in names:
                self._intents.setdefault((names[job], number), self._world.now)
        for batch, total, *kept in raw.execute(f"SELECT id, total, {COUNTED} FROM batches"):  # noqa: S608 - our own
            found = [counts.get(batch, Counter())[state.value] for state in State]
            if found != kept or sum(kept) != total:
                raise Red(f"batch {batch} counts {kept}, its jobs are {found}, its total is {total}")

    def _check_move(self, job: int, row: str, change: tuple[Standing, Standing], *, outputs: int) -> None:
        before, (state, attempt) = change
        if before[0] is not state and not _is_reachable(before[0], state):
            raise Red(f"{row} went from {before[0]} to {state}")
        if attempt < before[1]:
            raise Red(f"{row} went back from attempt {before[1]} to {attempt}")
        if state is State.SUCCEEDED:
            self._check_images(job, row, outputs)
        if state is State.QUEUED and before[0] in (State.RUNNING, State.STORING):
            self._check_nothing_is_left(row, before[1])

    def _check_images(self, job: int, row: str, outputs: int) -> None:
        found = self._database.raw.execute(
            'SELECT i."index", i.uri, a.prediction_id, b.key FROM images i JOIN jobs j ON j.id = i.job_id '
            "JOIN batches b ON b.id = j.batch_id "
            "JOIN attempts a ON a.job_id = i.job_id AND a.number = i.attempt WHERE i.job_id = ?",
            (job,),
        ).fetchall()
        if len(found) != outputs:
            raise Red(f"{row} succeeded with {len(found)} of {outputs} images")
        for index, uri, prediction, batch in found:
            key = image_key(batch, row, index, extension_of(uri))
            expected = picture(f"https://out.example/{prediction}/out-{index}.png")
            if self._store.objects.get(key) != expected and key not in self._store.late:
                raise Red(f"{row} succeeded, and {key} is not the image of {prediction}")

    def _check_nothing_is_left(self, row: str, attempt: int) -> None:
        query = (
            "SELECT a.prediction_id FROM attempts a JOIN jobs j ON j.id = a.job_id "
            "WHERE j.row_id = ? AND a.number = ? AND a.prediction_id IS NOT NULL"
        )
        for (prediction,) in self._database.raw.execute(query, (row, attempt)):
            if self._made(prediction).keeps(self._world.now):
                raise Red(f"{row} is to be generated again, and {prediction} can still be fetched")

    def _made(self, prediction_id: str) -> Made:
        return self._provider.made[int(prediction_id[1:]) - 1]

    def _check_known(self) -> None:
        """Every accepted create is known to an attempt, counted as an orphan, or its job still waits for the reply."""
        raw = self._database.raw
        self._seen_made = len(self._provider.made)
        known = {row[0] for row in raw.execute("SELECT prediction_id FROM attempts WHERE prediction_id IS NOT NULL")}
        known |= {row[0] for row in raw.execute("SELECT prediction_id FROM orphans")}
        if strange := known - {one.id for one in self._provider.made}:
            raise Red(f"the ledger has predictions that nobody made: {strange}")
        self.open = {one.id: one for one in self._provider.made if one.id not in known}
        if (
            len(known)
            != raw.execute("SELECT count(prediction_id) + (SELECT count(*) FROM orphans) FROM attempts").fetchone()[0]
        ):
            raise Red("a prediction belongs to an attempt and is counted as an orphan")
        self._check_live()
        unexcused = [one for one in self.open.values() if one.excuse is None]
        if not unexcused:
            return
        waiting: Counter[str] = Counter()
        query = (
            "SELECT version, input FROM jobs JOIN specs ON job_id = id WHERE state = 'submitting' UNION ALL "
            "SELECT s.version, s.input FROM attempts a JOIN specs s ON s.job_id = a.job_id "
            "WHERE a.possible_double_payment = 1 OR (a.outcome = 'failed' AND a.cause = 'unknown_outcome')"
        )
        for version, given in raw.execute(query):
            waiting[version + given] += 1
        for made in unexcused:
            mark = self._mark(made)
            waiting[mark] -= 1
            if waiting[mark] < 0:
                raise Red(f"{made.id} of {made.sender} was accepted, and nobody knows of it any more")

    def _mark(self, made: Made) -> str:
        return made.version + canonical_json(made.input)

    def _check_live(self) -> None:
        """No job has two predictions that run, both known to it and neither given up."""
        live: Counter[int] = Counter()
        query = "SELECT job_id, prediction_id FROM attempts WHERE outcome = 'accepted' AND prediction_id IS NOT NULL"
        for job, prediction in self._database.raw.execute(query):
            live[job] += self._made(prediction).status(self._world.now) in ("starting", "processing")
        if twice := [job for job, count in live.items() if count > 1]:
            raise Red(f"jobs {twice} have two live predictions")

    def left(self) -> str:
        """What keeps a run from its end."""
        live = "SELECT row_id, state, attempt FROM jobs WHERE state NOT IN ('succeeded', 'failed', 'canceled')"
        shut = "SELECT key, paused_kind, closing_until FROM batches WHERE opened_at NOT NULL AND closed_at IS NULL"
        raw = self._database.raw
        unknown = [(one.id, one.sender, one.excuse) for one in self.open.values()]
        return f"{raw.execute(live).fetchall()}, {raw.execute(shut).fetchall()}, unknown {unknown}"

    def is_done(self) -> bool:
        """Every job final, every batch closed, every accepted create accounted for.

        A batch whose submit was killed before it was opened stays as it is.
        """
        raw = self._database.raw
        if raw.execute("SELECT 1 FROM batches WHERE opened_at NOT NULL AND closed_at IS NULL LIMIT 1").fetchone():
            return False
        return not [one for one in self.open.values() if not self._is_risked(one)]

    def _is_risked(self, made: Made) -> bool:
        query = (
            "SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.row_id = ? AND a.number = ? "
            "AND (a.possible_double_payment = 1 OR a.cause = 'unknown_outcome')"
        )
        return bool(self._database.raw.execute(query, made.sender).fetchone()[0])

    def check_end(self) -> None:
        """What must be true of a run that is over."""
        raw = self._database.raw
        for batch, key, images in raw.execute(
            "SELECT id, key, images FROM batches WHERE opened_at NOT NULL"
        ).fetchall():
            live = raw.execute(
                "SELECT count(*) FROM jobs WHERE batch_id = ? AND state NOT IN ('succeeded', 'failed', 'canceled')",
                (batch,),
            ).fetchone()[0]
            if live:
                raise Red(f"{key} is closed with {live} live jobs")
            if file_key(key, MARKER) not in self._store.objects:
                raise Red(f"{key} is closed without its marker")
            query = "SELECT j.id, j.row_id, j.outputs FROM jobs j WHERE j.batch_id = ? AND j.state = ?"
            stored = 0
            for job, row, outputs in raw.execute(query, (batch, State.SUCCEEDED)).fetchall():
                self._check_images(job, row, outputs)
                stored += outputs
            if stored > images:
                raise Red(f"{key} counts {images} images, {stored} were asked for by what succeeded")
            self._check_files(batch, key, images)
        self._check_payments()

    def _check_files(self, batch: int, key: str, images: int) -> None:
        """The marker says what the ledger says, and the manifest names what is in the store."""
        objects = self._store.objects
        if self._store.late & {file_key(key, MARKER), part_key(key, 0, "jsonl")}:
            return  # a closer that slept in the middle of a write, and may have died before it could mend that
        marker = json.loads(objects[file_key(key, MARKER)])
        query = f"SELECT {COUNTED} FROM batches WHERE id = ?"  # noqa: S608 - our own names
        counts = dict(zip(map(str, State), self._database.raw.execute(query, (batch,)).fetchone(), strict=True))
        said = {name: marker[name] for name in counts}
        if (said, marker["images"]) != (counts, images):
            raise Red(f"the marker of {key} says {marker}, the ledger {counts} and {images} images")
        rows = [json.loads(line) for line in objects[part_key(key, 0, "jsonl")].splitlines()]
        for row in rows:
            place = image_key(key, row["id"], row["index"], extension_of(row["uri"]))
            digest = hashlib.sha256(objects.get(place, b"")).hexdigest()
            if digest != row["sha256"] and place not in self._store.late:
                raise Red(f"the manifest of {key} names another {place} than the store has")
        if len(rows) != images:
            raise Red(f"the manifest of {key} has {len(rows)} rows for {images} images")

    def _check_payments(self) -> None:
        """Accepted creates are the jobs' own, counted retries, and counted orphans; each retry has a reason."""
        raw = self._database.raw
        attempts = raw.execute("SELECT count(*) FROM attempts WHERE prediction_id IS NOT NULL").fetchone()[0]
        orphans, counted = raw.execute("SELECT count(*), (SELECT sum(orphans) FROM batches) FROM orphans").fetchone()
        risked = len(self.open)
        if len(self._provider.made) != attempts + orphans + risked or orphans != (counted or 0):
            raise Red(f"{len(self._provider.made)} accepted, {attempts} known, {orphans} orphans, {risked} risked")
        query = (
            "SELECT a.prediction_id, a.outcome FROM attempts a JOIN jobs j ON j.id = a.job_id "
            "WHERE a.prediction_id IS NOT NULL AND EXISTS "
            "(SELECT 1 FROM attempts b WHERE b.job_id = a.job_id AND b.number > a.number AND b.prediction_id NOT NULL)"
        )
        for prediction, outcome in raw.execute(query):
            if outcome not in ("failed", "lost", "canceled"):
                raise Red(f"{prediction} was {outcome}, and its job was paid for again")


def _is_reachable(source: State, target: State) -> bool:
    """In one transaction, and so by one transition or by two."""
    steps = TRANSITIONS[source]
    return target in steps or any(target in TRANSITIONS[one] for one in steps if one not in FINAL)
