"""Replicas on the clouds behind SkyPilot, and on Slurm clusters: one SkyPilot cluster each.

* ``launch`` looks before it posts: a cluster of that name, or a launch of it under way, means that it was asked before.
* ``describe`` is SkyPilot's word after it has asked the provider, a few seconds old at most, never a guess.
* ``terminate`` tells the engine to finish, then takes the cluster down, in the background; it is asked again at every
  look until nothing is left, so a controller that died in between loses nothing.
* ``inventory`` adds what the clusters themselves list, where there is a way to ask them past SkyPilot.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx

from orchestrator.control.ports import Ability, Instance, LaunchRequest, Phase
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import (
    CredentialsMissing,
    EngineMissing,
    InvalidSpec,
    ProviderError,
    ProviderUnavailable,
    UnsupportedByProvider,
)
from orchestrator.provisioners.last_words import last_words
from orchestrator.provisioners.masking import masked
from orchestrator.provisioners.skypilot.clouds import GROUND_TRUTH, WITHOUT_PORTS, abilities_of
from orchestrator.provisioners.skypilot.files import Folder, Folders, Record
from orchestrator.provisioners.skypilot.meaning import meaning_of
from orchestrator.provisioners.skypilot.resources import require_own_ports
from orchestrator.provisioners.skypilot.sky_api import STOPPED, UNSURE, UP, CallState, Cluster, SkyApi, SkyFailure
from orchestrator.provisioners.skypilot.slurm import WAITING, Allocation, GroundTruth
from orchestrator.provisioners.skypilot.task import PORT, NodeOptions, SkyTask, build_task, own_port
from orchestrator.provisioners.skypilot.view import ANSWER_SECONDS, ENDED_JOBS, SETTLED_JOB_EVERY_SECONDS, Picture, View

PREFIX = "gc-"
UID_LENGTH = 8
STOP_POLL_SECONDS = 0.5
STOP_REQUEST_SECONDS = 5.0
RENEW_SECONDS = 5.0
"""How long a replica may take to take its lease: it is asked again in a minute."""


@dataclass(frozen=True, slots=True)
class _LastWords:
    """What the log of a job that has ended in this ``state`` ends with. ``since``: time of the loop."""

    state: str
    words: asyncio.Task[str]
    since: float


class SkyPilotProvisioner:
    """See the module. ``engine``: the vLLM executable of the Slurm nodes, where it is installed already.

    ``secrets``: the environment that the values of a service's secrets are read from. ``transport``: how engines are
    reached, for tests.
    """

    def __init__(
        self,
        state_dir: Path,
        api: SkyApi,
        clouds: Iterable[str],
        *,
        engine: Path | None = None,
        ground: GroundTruth | None = None,
        refresh_seconds: float = 30.0,
        job_every_seconds: float = SETTLED_JOB_EVERY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        secrets: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.providers = frozenset(clouds)
        self._root = state_dir / "skypilot"
        self._folders = Folders(self._root)
        self._api = api
        self._engine = None if engine is None else str(engine)
        self._ground = ground
        self._view = View(
            api,
            self._folders,
            refresh_seconds=refresh_seconds,
            job_every_seconds=job_every_seconds,
            answer_seconds=answer_seconds,
            now=now,
        )
        self._answer_seconds = answer_seconds
        self._secrets = os.environ if secrets is None else secrets
        self._now = now
        self._transport = transport
        self._ends: dict[str, asyncio.Task[None]] = {}
        self._follows: set[asyncio.Task[None]] = set()
        self._posted: dict[str, float] = {}
        self._posts: dict[str, tuple[asyncio.Task[None], float]] = {}
        """Launches that are being handed over, and since when (time of the loop)."""
        self._gone: frozenset[str] = frozenset()
        """Whom the last listing did not show, and nobody has ended."""
        self._last_said: dict[str, _LastWords] = {}
        """Of each replica whose job has ended."""
        self._only_there: dict[str, Allocation] = {}
        """What the last listing showed that only its provider knew of, and SkyPilot did not."""
        self._told_gone: set[str] = set()
        """Of whom it was said last that they are gone."""

    # ── the port ──

    def abilities(self, region: str) -> frozenset[Ability]:
        """Return what SkyPilot can do on that cloud."""
        return abilities_of(region.partition("/")[0])

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:
        """Check engine, model, features, and that SkyPilot has the credentials; a local API server is started."""
        if model.engine not in {Engine.VLLM, Engine.COMMAND}:
            message = f"the engine {model.engine} runs on this machine only"
            raise UnsupportedByProvider(message, hint="Choose engine: vllm, or regions of the local provider.")
        _require_model(model)
        for offer in offers:
            require_own_ports(offer)
            if offer.market is Market.SPOT and Ability.SPOT not in self.abilities(offer.region.id):
                raise UnsupportedByProvider(f"{offer.id}: SkyPilot has no spot machines there")
        with self._in_our_words():
            await self._api.ensure_server()
            wanted = frozenset(o.region.provider for o in offers)
            missing = sorted(wanted - await self._api.enabled_clouds(wanted))
        if missing:
            hint = f"Run `sky check {' '.join(missing)}` where the SkyPilot API server runs."
            raise CredentialsMissing(f"SkyPilot has no access to {', '.join(missing)}", hint=hint)

    async def launch(self, request: LaunchRequest) -> None:
        """Post the launch, unless it was posted before. Raises ``ProviderUnavailable`` while SkyPilot is silent.

        Handing it over may take minutes, for files are carried: that goes on by itself, and who asks again hears how
        it ended. A controller that waited would keep everybody else waiting.
        """
        self._view.require_answers()
        loop = asyncio.get_running_loop()
        post, since = self._posts.get(request.name, (None, 0.0))
        if post is None or post.cancelled():
            post, since = loop.create_task(self._hand_over(request)), loop.time()
            post.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._posts[request.name] = post, since
        await asyncio.wait({post}, timeout=max(0.0, self._answer_seconds - (loop.time() - since)))
        if not post.done():
            raise ProviderUnavailable(f"SkyPilot has been asked for {request.name}, and has not taken it yet")
        self._posts.pop(request.name, None)
        post.result()

    async def describe(self, name: str) -> Instance:
        """Return SkyPilot's newest word. Raises ``ProviderUnavailable`` when there is none."""
        folder = self._folders.of(name)
        record = folder.read()
        if record is None and not name.startswith(PREFIX):
            return Instance(name, "", Phase.GONE, None, has_machine=False)
        picture = await self._view.newest(_prefix_of(name))
        if self._is_handed_over(name) and (record is None or record.stop_by is None):
            # Not there yet is not gone: who heard that would take its end for confirmed, and it would come afterwards.
            raise ProviderUnavailable(f"SkyPilot has been asked for {name}, and has not taken it yet")
        seen = await self._instance(name, record, picture)
        if seen.phase is not Phase.GONE:
            self._told_gone.discard(name)
        elif name in self._told_gone and name in self._only_there:
            # A listing showed it, so it has to be ended. First it is gone, though: nobody can look after it any more.
            return _only_on_the_ground(name, record, self._only_there[name])
        else:
            self._told_gone.add(name)
        return seen

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """Return everything with our mark: SkyPilot's clusters, launches under way, and what the clusters list.

        Who is in none of these twice in a row is forgotten: nobody is asked to end what has gone by itself.
        """
        prefix = f"{PREFIX}{deployment_uid[:UID_LENGTH]}-"
        self._folders.keep_logs_short()
        picture = await self._view.fresh(prefix)
        allocations = {} if self._ground is None else {a.cluster: a for a in await self._ground.allocations(prefix)}
        records = {r.name: r for r in self._folders.records() if r.name.startswith(prefix)}
        found, gone, only_there = [], set(), {}
        for name in sorted({*picture.clusters, *allocations, *records}):
            record = records.get(name)
            if record is not None and record.deployment != deployment_uid:
                continue
            seen = await self._instance(name, record, picture)
            if seen.phase is Phase.GONE and name in allocations:
                only_there[name] = allocations[name]
                seen = _only_on_the_ground(name, record, allocations[name])
            if seen.phase is Phase.GONE and record is not None and not record.ended:
                gone.add(name)
            if seen.phase is not Phase.GONE and not (seen.phase is Phase.FAILED and name not in picture.clusters):
                found.append(seen)
        self._forget(name for name in gone & self._gone if not self._is_handed_over(name))
        self._gone = frozenset(gone)
        self._only_there = only_there
        self._told_gone &= only_there.keys()
        return found

    async def terminate(self, name: str, grace: timedelta) -> None:
        """Ask the engine to finish, then end the cluster, in the background. Raises what the last try failed with."""
        folder = self._folders.of(name)
        record = folder.read()
        if record is not None and record.stop_by is None:
            record = folder.change(stop_by=time.time() + grace.total_seconds())
        running = self._ends.get(name)
        if running is not None and not running.done():
            return
        self._ends[name] = asyncio.create_task(self._end(name, record, grace))
        if running is not None and not running.cancelled() and running.exception() is not None:
            error = running.exception()
            raise error if isinstance(error, ProviderError) else ProviderError(f"{name} could not be ended: {error}")

    async def renew(self, name: str, lease: timedelta) -> bool:
        """Tell the replica itself: nothing but the way to it is needed, and nothing of SkyPilot's.

        Where the owner's own command runs there is nobody to tell, and no lease.
        """
        record = self._folders.of(name).read()
        if record is None or not record.has_key:
            return False
        picture = await self._view.newest(_prefix_of(name))
        cluster = picture.clusters.get(name)
        if cluster is None or cluster.address is None:
            raise ProviderUnavailable(f"{name} cannot be reached: it has no address")
        if _is_elsewhere(record, cluster):
            raise ProviderError(f"{name} runs in {_place_of(cluster)}: nothing is sent there")
        key = self._folders.of(name).make_key().read_text(encoding="ascii").strip()
        url = f"http://{cluster.address}:{record.port}/greenctl/renew?seconds={int(lease.total_seconds())}"
        try:
            async with httpx.AsyncClient(timeout=RENEW_SECONDS, trust_env=False, transport=self._transport) as client:
                answer = await client.post(url, headers={"authorization": f"Bearer {key}"})
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{name} could not be told to go on: {type(error).__name__}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        if answer.status_code != httpx.codes.ACCEPTED:
            raise ProviderError(f"{name} did not take its lease: status {answer.status_code}")
        return True

    def log_path(self, name: str) -> Path | None:
        """Return SkyPilot's progress and the engine's last words."""
        log = self._folders.of(name).log
        return log if log.exists() else None

    async def close(self) -> None:
        """Let go of SkyPilot. What is under way there goes on."""
        words = (last.words for last in self._last_said.values())
        for task in (*self._follows, *self._ends.values(), *(post for post, _ in self._posts.values()), *words):
            task.cancel()
        self._view.close()
        await self._api.close()

    # ── launching ──

    async def _hand_over(self, request: LaunchRequest) -> None:
        with self._only_one(request.name):
            posted = await self._post(request)
        if posted:
            follow = asyncio.create_task(self._follow(posted, self._folders.of(request.name).log))
            self._follows.add(follow)
            follow.add_done_callback(self._follows.discard)

    def _is_handed_over(self, name: str) -> bool:
        """Whether a launch of that name is on its way to SkyPilot now."""
        return name in self._posts and not self._posts[name][0].done()

    def _node(self, request: LaunchRequest) -> NodeOptions:
        if request.offer.region.provider not in WITHOUT_PORTS:
            return NodeOptions()
        # The owner's own command does not know which port is its own.
        port = own_port(request.name) if request.model.engine is Engine.VLLM else PORT
        return NodeOptions(engine=self._engine, port=port, opens_ports=False)

    async def _post(self, request: LaunchRequest) -> str:
        """Return the id of the request that was posted now, empty if there was no need."""
        folder = self._folders.of(request.name)
        record = folder.read()
        if record is not None and (record.stop_by is not None or record.error_code):
            return ""  # its name is used up
        task = self._task(request)
        secrets = self._secret_files(request, task.secrets_path)
        if record is None:
            folder.write(
                Record(
                    name=request.name,
                    deployment=request.deployment_uid,
                    service=request.service,
                    intent=request.intent_id,
                    region=request.offer.region.id,
                    epoch=request.epoch,
                    port=task.port,
                    has_key=bool(task.key_path),
                )
            )
        elif record.ended:
            folder.change(ended=False)  # it was forgotten before it was ever seen
        with self._in_our_words():
            if await self._was_asked(request.name):
                return ""
            folder.change(port=task.port)  # an older version may have written down another one, and died
            mounts = folder.store({**task.files, **secrets})
            mounts |= {remote: str(local) for remote, local in task.uploads.items()}
            if task.key_path:
                mounts[task.key_path] = str(folder.make_key())
            posted = await self._api.launch(request.name, task.config, mounts)
        self._posted[request.name] = self._now()
        folder.change(request=posted)
        return posted

    def _task(self, request: LaunchRequest) -> SkyTask:
        try:
            return build_task(request, self._node(request))
        except InvalidSpec as error:
            said = "; ".join(problem.message for problem in error.problems)
            raise UnsupportedByProvider(f"{request.offer.id}: {said}") from error

    async def _was_asked(self, name: str) -> bool:
        """Whether a launch of that name is under way or has succeeded, or its cluster exists."""
        known = await self._api.launches(name)
        if any(call.state is not CallState.FAILED for call in known):
            return True
        return any(cluster.name == name for cluster in await self._api.clusters(name))

    def _secret_files(self, request: LaunchRequest, path: str) -> dict[str, str]:
        if not path:
            return {}
        missing = [name for name in request.secrets if name not in self._secrets]
        if missing:
            hint = "Set it where the controller runs; its value is carried to the machine in a file, nowhere else."
            raise CredentialsMissing(f"the secret {', '.join(missing)} is not in the environment", hint=hint)
        return {path: json.dumps({name: self._secrets[name] for name in request.secrets})}

    async def _follow(self, request: str, log: Path) -> None:
        with contextlib.suppress(SkyFailure, OSError):
            await self._api.follow(request, log)

    # ── looking ──

    async def _instance(self, name: str, record: Record | None, picture: Picture) -> Instance:
        cluster = picture.clusters.get(name)
        is_launching = record is not None and self._is_launching(record, picture)
        seen = replace(_marked(name, record, cluster), has_machine=_has_machine(cluster, is_launching=is_launching))
        if record is not None and record.stop_by is not None:
            left = cluster is not None or is_launching or not record.ended
            return replace(seen, phase=Phase.STOPPING if left else Phase.GONE)
        if record is not None and record.error_code:
            return replace(seen, phase=Phase.FAILED, exit_detail=record.error, error_code=record.error_code)
        call = picture.launches.get(name)
        if is_launching:
            return seen
        if call is not None and call.state is CallState.FAILED:
            return await self._failed(name, call.id, seen)
        if cluster is None:
            return replace(seen, phase=Phase.GONE)
        if picture.jobs.get(name, "") in ENDED_JOBS:
            return replace(seen, phase=Phase.FAILED, exit_detail=await self._last_words(name, picture.jobs[name]))
        if cluster.state == STOPPED:
            return replace(seen, phase=Phase.FAILED, exit_detail="its machine was stopped")
        if cluster.address is None or cluster.state not in {UP, UNSURE}:
            return seen
        port = 0 if record is None else record.port
        folder = self._folders.of(name)
        key = folder.key_file if record is not None and record.has_key else None
        endpoint = f"http://{cluster.address}:{port}" if port else None
        # Where SkyPilot is unsure, the engine may well answer: its address is known.
        phase = Phase.RUNNING if cluster.state == UP else Phase.STARTING
        return replace(seen, phase=phase, endpoint=endpoint, api_key_file=key)

    def _is_launching(self, record: Record, picture: Picture) -> bool:
        posted = self._posted.get(record.name)
        if posted is not None and posted >= picture.asked_at:
            return True  # it was posted after this picture was begun
        call = picture.launches.get(record.name)
        return call is not None and call.state is CallState.OPEN

    async def _failed(self, name: str, request: str, seen: Instance) -> Instance:
        """Learn why, once, and remember it until it is ended."""
        try:
            await self._api.outcome(request)
        except SkyFailure as failure:
            meaning = meaning_of(failure)
            if isinstance(meaning, ProviderUnavailable):
                raise meaning from failure
            self._folders.of(name).change(error_code=meaning.code, error=meaning.message)
            return replace(seen, phase=Phase.FAILED, exit_detail=meaning.message, error_code=meaning.code)
        return seen

    async def _last_words(self, name: str, state: str) -> str:
        """Ask for the end of its job's log, once: the job says nothing any more.

        It is asked on the machine, which may hang. That its job has ended is known all the same, so the words are
        waited for no longer than any answer is, and told to who asks later.
        """
        loop = asyncio.get_running_loop()
        known = self._last_said.get(name)
        if known is None or known.state != state or known.words.cancelled():
            known = _LastWords(state, loop.create_task(self._learn_last_words(name)), loop.time())
            self._last_said[name] = known
        await asyncio.wait({known.words}, timeout=max(0.0, self._answer_seconds - (loop.time() - known.since)))
        words = known.words.result() if known.words.done() else ""
        return f"its job ended: {state}" + (f": {words}" if words else "")

    async def _learn_last_words(self, name: str) -> str:
        folder = self._folders.of(name)
        hidden = folder.secrets()  # before the log comes, which may be after they are forgotten
        try:
            text = await self._api.job_log(name)
        except (SkyFailure, OSError):
            return ""
        with contextlib.suppress(ProviderError):  # a full disk: that it has failed is known all the same
            folder.append(masked(text, hidden))
        return last_words(folder.log, hidden)

    # ── ending ──

    async def _end(self, name: str, record: Record | None, grace: timedelta) -> None:
        if name in self._posts:
            await asyncio.wait({self._posts[name][0]})  # or it would be launched after its end
        with self._in_our_words():
            for call in await self._api.launches(name):
                if call.state is CallState.OPEN:
                    await self._api.cancel(call.id)
            if record is not None and not record.error_code:
                await self._stop_engine(name, record, grace)
            # Not only if it is known to be there: a launch that was cancelled may have left one.
            await self._api.down(name)
        await self._end_on_the_ground(name, record)
        picture = await self._view.fresh(_prefix_of(name), None)
        if name in picture.clusters:
            raise ProviderError(f"SkyPilot said that {name} is down, and still lists it")
        self._forget([name])

    async def _end_on_the_ground(self, name: str, record: Record | None) -> None:
        """End what a provider's own listing still has; only where it may be, as another one may be silent."""
        if self._ground is None or (record is not None and record.provider not in GROUND_TRUTH):
            return
        for allocation in await self._ground.allocations(name, "" if record is None else record.region):
            if allocation.cluster == name:
                await self._ground.end(allocation)

    def _forget(self, names: Iterable[str]) -> None:
        """Keep nothing secret of those that are no more, and ask SkyPilot about them no longer."""
        for name in names:
            folder = self._folders.of(name)
            folder.change(ended=True)
            folder.forget_secrets()
            self._posted.pop(name, None)
            self._posts.pop(name, None)
            self._only_there.pop(name, None)
            last = self._last_said.pop(name, None)
            if last is not None:
                last.words.cancel()
        self._folders.prune()

    async def _stop_engine(self, name: str, record: Record, grace: timedelta) -> None:
        """Tell the engine to finish what it is saying, and wait until it has, or its time is over.

        Its time is kept by the clock of the wall, for it outlives this process; a clock that was set back since gives
        it no more than it was given first.
        """
        picture = await self._view.newest(_prefix_of(name))
        cluster = picture.clusters.get(name)
        if cluster is None or cluster.address is None or not record.has_key or _is_elsewhere(record, cluster):
            return
        base = f"http://{cluster.address}:{record.port}"
        key = self._folders.of(name).make_key().read_text(encoding="ascii").strip()
        left = 0.0 if record.stop_by is None else min(record.stop_by - time.time(), grace.total_seconds())
        deadline = time.monotonic() + left
        async with httpx.AsyncClient(
            timeout=STOP_REQUEST_SECONDS, trust_env=False, transport=self._transport
        ) as client:
            try:
                await client.post(f"{base}/greenctl/stop", headers={"authorization": f"Bearer {key}"})
                while time.monotonic() < deadline:
                    await client.get(f"{base}/health")
                    await asyncio.sleep(STOP_POLL_SECONDS)
            except httpx.HTTPError:
                return  # it answers no longer

    # ── small parts ──

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except SkyFailure as failure:
            raise meaning_of(failure) from failure

    @contextlib.contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        """Two controllers never post the same launch at the same time; the lock dies with its process."""
        folder: Folder = self._folders.of(name)
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder.path / "lock").open("w", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ProviderUnavailable(f"{name} is being launched by another process") from error
            yield


def _prefix_of(name: str) -> str:
    """Return what the names of all replicas of the same deployment begin with."""
    return name[: len(PREFIX) + UID_LENGTH + 1] if name.startswith(PREFIX) else name


def _marked(name: str, record: Record | None, cluster: Cluster | None) -> Instance:
    region = "" if cluster is None else _place_of(cluster)
    if record is None:
        return Instance(name, _service_in(name), Phase.STARTING, None, region=region, runs_in=region)
    return Instance(
        name,
        record.service,
        Phase.STARTING,
        None,
        region=record.region,
        intent_id=record.intent,
        epoch=record.epoch,
        deployment_uid=record.deployment,
        runs_in=region,
    )


def _has_machine(cluster: Cluster | None, *, is_launching: bool) -> bool:
    """Whether a machine is there: while it is launched, SkyPilot lists clusters whose machines it looks for still."""
    if cluster is None or cluster.state == STOPPED:
        return False
    return cluster.state == UP or cluster.address is not None or not is_launching


def _place_of(cluster: Cluster) -> str:
    """Return the id of the region that it runs in, empty where SkyPilot does not say."""
    return f"{cluster.cloud}/{cluster.region}" if cluster.region else ""


def _is_elsewhere(record: Record, cluster: Cluster) -> bool:
    """Whether it runs in another region than it was asked for in: it may stand where it must not (decision 0056)."""
    return _place_of(cluster).casefold() not in {"", record.region.casefold()}


def _service_in(name: str) -> str:
    """Read the service out of ``gc-<uid>-<service>-<intent>``; its first letters, where it is long."""
    return name[len(_prefix_of(name)) :].rpartition("-")[0]


def _only_on_the_ground(name: str, record: Record | None, allocation: Allocation) -> Instance:
    seen = _marked(name, record, None)
    where = seen.region or allocation.region
    detail = f"SkyPilot does not know it; job {allocation.job_id} is {allocation.state}"
    return Instance(
        name,
        seen.service,
        Phase.RUNNING,
        None,
        exit_detail=detail,
        region=where,
        intent_id=seen.intent_id,
        epoch=seen.epoch,
        has_machine=allocation.state != WAITING,
    )


def _require_model(model: ModelSpec) -> None:
    path = Path(model.id)
    if path.is_absolute() and not path.is_dir():
        raise EngineMissing(f"there is no model folder {path}", hint="Name a folder with config.json, or a hub id.")
