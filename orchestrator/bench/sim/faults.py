"""Everything that goes wrong in a simulated day, and everything that people ask for in it, as a list drawn from a seed.

The fault model, by who is to blame:

* *create*: the answer is lost, it succeeds late (10 s to 40 min) with or without an answer, an error although the
  machine exists, sold out at once or only after all, a quota, a hang, another region than was asked for; it is taken
  only after up to half an hour, in which nobody is told anything of that name.
* *calls of a provider*: all of them, or listings, ends or renewals alone, hang for up to a quarter of an hour.
* *listings and looks*: late by up to two minutes, partial, empty, failing, throttled, no answer at all; an old picture
  for up to an hour, in which what is gone is there and what is new is not; a machine out of sight that serves on.
* *end*: success is reported and nothing happens, it takes ten minutes, an error although it worked.
* *machines*: preempted alone or by the region, with and without a notice, failed, frozen, healthy but wrong, slow, deaf
  to us while they answer clients (one, or all of them), deleted by hand, stripped of their marks; strangers with and
  without our mark.
* *database*: refuses, reads only, has no room left for writes, or for most of them, for up to an hour, fails before or
  after the commit, answers late, hangs for up to a quarter of an hour in one of three ways (the server ends each
  statement, it says nothing and may have written, somebody holds a lock), loses its last transactions in a failover, is
  set back to an old backup.
* *process*: SIGKILL at a call or between looks, SIGSTOP for up to ten minutes while another one takes over.
* *hosts*, where there are two: down, stopped in order, cut off from the database, taken over by a person's word, asleep
  between the record of a launch and the launch; asleep, dead or stopped when it has left, and it arrives up to ten
  minutes later; the clock of their database put forward or back by an hour.
* *regions*, where services promise to survive the loss of one: all machines in it are gone at once, and for up to four
  hours none can be had there.
* *gateway*: away, loses an answer, restarts with and without its table.
* *signals and prices*: gone, dark in one zone, stale, wrong for about an hour (ten times as much, next to nothing, and
  what no grid can have: below zero, no number, another unit), the price list unreadable, prices moving.
* *clock*: put forward or back by an hour, for a while.
* *people*: scale, new workloads, broken workloads, the same again, moves, the end, pauses; their commands are killed
  before or after a commit or a call, or have no answer, and are run again.

What nobody could tell from its absence is left out: a provider that goes on billing for what it shows to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from random import Random

HOUR = 3600.0
DAY = 24 * HOUR
QUIET_START = 1800.0
"""Seconds before the first misfortune: a service that never came up has nothing to lose."""

ON_SPOT, SCALED, ASLEEP = 0.3, 0.2, 0.15
"""Parts of the runs on spot machines, of those whose number follows the load, and of those that may sleep without any.
What else is special about some of them is a matter of the :class:`Climate`.
"""

AREAS, TTFT_SECONDS = ("eu", "us-east"), 0.22
"""Where such clients are, and what is promised of the first token in half of those runs: the way over the Atlantic and
back leaves no time to answer in.
"""

HALF = 0.5
LAST_HOUR = 22

PLACES_ALLOWED, MOST_REPLICAS, MOST_MORE = 3, 3, 3
"""How many places a service may stand in, the most replicas that people ask for, the most that spares or load add."""

LOOK_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Between two looks while something moves. A controller on a busy machine, or behind slow providers, looks as seldom as
the slow ones here, and has to keep every promise all the same; and three of them are lived through in the time of one.
"""

HANGS_SECONDS = 60.0
"""For so long a create is waited for. Providers promise to return early: what takes longer goes on beside the looks."""

CLOCK_STEPS = "clock_steps"
"""A kind that is drawn by itself, for some of the runs."""

LATE_KINDS = {"create_taken_late": (60.0, 1800.0), "preempt_with_notice": (30.0, 120.0), "db_late": (10.0, 60.0)}
"""Kinds that are drawn by themselves, for some of the runs: answers that come late. Between how many seconds each."""

HOST_KINDS = {
    "host_dies": (10.0, 1800.0),
    "host_stops": (10.0, 1800.0),
    "host_cut_off": (10.0, 1800.0),
    "host_taken_over": (0.0, 0.0),
    "host_sees_clock_set": (10.0, 1800.0),
    "host_asleep_before_launch": (20.0, 180.0),
    "host_asleep_in_launch": (30.0, 600.0),
    "host_dies_in_launch": (30.0, 600.0),
    "host_stops_in_launch": (30.0, 600.0),
}
"""Kinds that are drawn by themselves, for the runs with two hosts. Between how many seconds each."""

REGION_LOST, REGION_LOST_SECONDS = "region_lost", (600.0, 4 * HOUR)
"""A kind that is drawn by itself, for the runs in which services promise to survive it, and how long it lasts."""

COMMAND_KINDS = ("command_killed_before", "command_killed_after", "command_unanswered")
COMMAND_SECONDS = (1.0, 900.0)
"""Kinds that are drawn by themselves, for some of the runs, and after how long the same command is run again."""

HANG_KINDS = ("hangs_all", "hangs_all", "hangs_listing", "hangs_ending", "hangs_renewing")
HANG_SECONDS = (60.0, 900.0)
"""Kinds that are drawn by themselves, for some of the runs: a provider that says nothing, and for how long."""

IN_A_HANG = ("preempt", "machine_fails", "scale", "move", "new_workload")
"""What happens within a minute of each: a provider that nothing is asked of is missed by nobody."""

DISK_FULL, DISK_FULL_SECONDS = "disk_full", (60.0, HOUR)
"""A kind that is drawn by itself, for some of the runs, and how long it lasts."""

ON_A_FULL_DISK = (*IN_A_HANG, "kill", "kill_at_call", "create_late", "stray_ours")
"""What happens meanwhile, or shortly before or after: a disk that nothing is written to is full unseen."""

SILENT_KINDS, SILENT_SECONDS = ("db_hangs", "db_silent", "db_locked"), (20.0, 900.0)
"""Kinds that are drawn by themselves, for some of the runs: a database that hangs, and for how long."""

LIE_KINDS = ("lies_tenfold", "lies_near_zero", "lies_negative", "lies_no_number", "lies_in_milligrams")
LIE_SECONDS = (1800.0, 5400.0)
"""Kinds that are drawn by themselves, for some of the runs: a zone of which something wrong is said, for how long."""

# How often each is drawn, and how long it lasts at most, in seconds.
KINDS: dict[str, tuple[int, float]] = {
    "create_lost": (3, 0.0),
    "create_late": (3, 2400.0),
    "create_late_lost": (3, 2400.0),
    "create_error": (2, 0.0),
    "create_hangs": (2, HANGS_SECONDS),
    "create_refused": (2, 0.0),
    "create_elsewhere": (1, 0.0),
    "full": (3, 7200.0),
    "spot_full": (2, 7200.0),
    "full_later": (2, 3600.0),
    "quota": (1, 1800.0),
    "away_refused": (2, 1800.0),
    "away_timeout": (2, 1800.0),
    "throttled": (2, 1800.0),
    "listing_partial": (2, 3600.0),
    "listing_empty": (2, 3600.0),
    "listing_fails": (2, 3600.0),
    "listing_stale": (2, 3600.0),
    "stale_looks": (1, 600.0),
    "old_looks": (2, 900.0),
    "out_of_sight": (2, 120.0),
    "end_lies": (3, 0.0),
    "end_slow": (2, 600.0),
    "end_error": (2, 0.0),
    "preempt": (4, 0.0),
    "preempt_region": (2, 0.0),
    "machine_fails": (3, 0.0),
    "freeze": (3, 900.0),
    "wrong_answers": (2, 900.0),
    "slow": (2, 1800.0),
    "deaf": (3, 1800.0),
    "all_deaf": (2, 1800.0),
    "deleted_by_hand": (2, 0.0),
    "mark_removed": (1, 0.0),
    "stray_ours": (1, 0.0),
    "stray_foreign": (1, 0.0),
    "db_down": (2, 3600.0),
    "db_read_only": (2, 1800.0),
    "db_write_fails": (4, 0.0),
    "db_answer_lost": (4, 0.0),
    "db_failover": (1, 0.0),
    "db_restored": (1, 0.0),
    "kill": (5, 120.0),
    "kill_at_call": (6, 60.0),
    "sleep_at_call": (5, 600.0),
    "gateway_away": (3, 1800.0),
    "gateway_answer_lost": (2, 0.0),
    "gateway_restarts": (2, 0.0),
    "gateway_forgets": (1, 0.0),
    "signals_away": (2, 7200.0),
    "zone_dark": (2, 7200.0),
    "zone_stale": (2, 7200.0),
    "prices_away": (2, 3600.0),
    "price_moves": (2, 0.0),
    "scale": (4, 0.0),
    "new_workload": (3, 0.0),
    "broken_workload": (1, 0.0),
    "same_again": (2, 0.0),
    "move": (4, 0.0),
    "down_and_up": (1, 3600.0),
    "pause": (1, 7200.0),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune or wish. ``at`` and ``seconds``: seconds of the simulation; ``pick``: which of many, of [0, 1)."""

    number: int
    at: float
    kind: str
    seconds: float
    pick: float

    def __str__(self) -> str:
        """Say it in a line of a schedule."""
        return f"#{self.number} at {self.at:.0f} s: {self.kind} ({self.seconds:.0f} s, {self.pick:.3f})"


@dataclass(frozen=True, slots=True)
class Work:
    """Batch work, of each service the same.

    ``hours``: for how long as many replicas as the setting has take for it. ``due_hours``: after the beginning, when it
    is due, and ``daily`` as much of it again every day at that time. ``preemptible``: it may stop and go on later.
    """

    hours: float
    due_hours: float
    daily: bool = False
    preemptible: bool = False


@dataclass(frozen=True, slots=True)
class Hedge:
    """What services on spot have against losses; their number may follow the load then, and be none.

    ``more``: so many more than wanted. ``on_demand``: so many of those that are wanted are never on spot.
    ``stand_ins``: on-demand replicas stand in for spot that is not ready. ``loss``: what replaces one that was taken
    away, a :class:`~orchestrator.domain.service.SpotLoss`. ``availability``: of the wanted number, promised; spares
    follow from it.
    """

    more: int = 0
    on_demand: int = 0
    stand_ins: bool = False
    loss: str = "on_demand"
    availability: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What owners allow. ``usd_per_day``: for each service. ``per_region``: the most replicas of one in a region.

    ``window``: hours of each day (UTC) in which replicas may move of their own accord, the second one after the first.
    ``freeze``: hours of the run in which nothing voluntary moves.
    """

    usd_per_day: float | None = None
    per_region: int | None = None
    window: tuple[int, int] | None = None
    freeze: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One run, whole: the same value is the same history, byte for byte.

    ``lag_seconds``: until a new machine can be seen, at most. ``look_seconds``: between two looks while something
    moves; ``waiting_seconds`` and ``resting_seconds``: the most while something is open, and while nothing is: then
    leases are all that is due, every ten minutes.
    ``sleeps``: there are hours without a request, and no replica has to stay up for them.
    ``work``: not requests decide when replicas run, but work that has to be done by a time.
    ``varied``: services have two variants of their model, of which each deploy may allow others.
    ``unnamed``: files give their model no name of its own, so that another model is another name for clients to say.
    ``hedge``: what is done on spot machines against losses besides replacing them. ``limits``: what owners allow.
    ``steps``: the clock that records are written by is put forward or back now and then. ``late``: some answers are.
    ``hosts``: two hosts share the database, each with a controller, and lend each other the turn.
    ``survives``: services promise to survive the loss of any one region, and regions are lost.
    ``commands``: some of the commands that people run are killed, or have no answer.
    ``hangs``: calls of the provider hang for minutes.
    ``full``: the disk of the database is full for a while.
    ``silent``: the database hangs for a while.
    ``lies``: what is said of grids is wrong now and then.
    ``clients``: in which areas as many of them are each; ``ttft_seconds``: what is promised to them, 0 for nothing.
    ``hours``: how long things go wrong; ``recovery_hours``: within which all must be in order after that (a quota is
    left alone for up to twelve hours); ``rest_hours``: for how long nothing may be open before the world is said to be
    at rest: longer than replicas have to stay.
    """

    seed: int
    faults: tuple[Fault, ...] = ()
    hours: float = 24.0
    replicas: int = 2
    spot: bool = False
    scaled: bool = False
    sleeps: bool = False
    services: int = 1
    lag_seconds: float = 0.0
    look_seconds: float = 2.0
    waiting_seconds: float = 30.0
    resting_seconds: float = 600.0
    drain_seconds: float = 60.0
    skew_seconds: float = 0.0
    database: str = "memory"
    recovery_hours: float = 20.0
    rest_hours: float = 3.0
    work: Work | None = None
    clients: tuple[str, ...] = ()
    ttft_seconds: float = 0.0
    varied: bool = False
    unnamed: bool = False
    hedge: Hedge | None = None
    limits: Limits | None = None
    steps: bool = False
    late: bool = False
    hosts: bool = False
    survives: bool = False
    commands: bool = False
    hangs: bool = False
    full: bool = False
    silent: bool = False
    lies: bool = False

    def without(self, numbers: frozenset[int]) -> Setting:
        """Return the same run without some of its faults."""
        return replace(self, faults=tuple(f for f in self.faults if f.number not in numbers))


@dataclass(frozen=True, slots=True)
class Climate:
    """How rough it is: faults per hour, and which kinds there are.

    ``works``: of all runs, the part in which services are batch work, where nothing else decides on their number;
    ``spreads``: of the others, the part with clients in several areas; ``varies`` and ``renames``: of all, the parts
    with variants, and with models that go by their ids; ``hedges``: the part of those on spot that has a hedge;
    ``limits``: of all, the part with limits; ``steps``: of those without work and limits, the part with a clock that
    is set; ``lates``: of all, the part with answers that come late; ``hosts``: of those whose database
    is a memory, and so has the run's own clock, the part with two hosts; ``survives``: of those without work, the part
    that promises to survive the loss of a region; ``commands``: of all, the part in which commands are interrupted;
    and, each of all, the parts in which providers hang (``hangs``), disks are full (``full``), databases hang
    (``silent``) and signals lie (``lies``).
    """

    per_hour: float = 1.5
    kinds: tuple[str, ...] = field(default=tuple(KINDS))
    works: float = 0.08
    spreads: float = 0.08
    varies: float = 0.08
    renames: float = 0.1
    hedges: float = 0.4
    limits: float = 0.1
    steps: float = 0.1
    lates: float = 0.1
    hosts: float = 0.1
    survives: float = 0.1
    commands: float = 0.1
    hangs: float = 0.1
    full: float = 0.1
    silent: float = 0.1
    lies: float = 0.1


def setting_of(seed: int, climate: Climate | None = None, *, hours: float = 24.0, database: str = "memory") -> Setting:
    """Draw a run."""
    climate = climate or Climate()
    random = Random(f"greenctl/{seed}")  # noqa: S311  # a day that can be lived again, no secret
    made = Setting(
        seed=seed,
        hours=hours,
        replicas=random.choice((1, 2, 2, 3)),
        spot=random.random() < ON_SPOT,
        scaled=random.random() < SCALED,
        services=random.choice((1, 1, 1, 2)),
        lag_seconds=random.choice((0.0, 5.0, 30.0, 120.0)),
        look_seconds=random.choice(LOOK_SECONDS),
        drain_seconds=random.choice((30.0, 60.0, 120.0)),
        skew_seconds=random.choice((0.0, -3600.0, 3600.0, 600.0)),
        database=database,
    )
    number = max(1, round(climate.per_hour * hours))
    kinds = [k for k in climate.kinds if database == "memory" or k not in {"db_failover", "db_restored"}]
    weights = [KINDS[kind][0] for kind in kinds]
    faults = []
    for _ in range(number):
        at = random.uniform(QUIET_START, hours * HOUR)
        kind = random.choices(kinds, weights)[0]
        seconds = KINDS[kind][1] * random.random() ** 2
        faults.append((at, kind, seconds, random.random()))
    ordered = [Fault(n, *rest) for n, rest in enumerate(sorted(faults))]
    made = replace(made, faults=tuple(ordered), sleeps=not made.spot and random.random() < ASLEEP)
    # Whatever is new is drawn last: the days that were known before stay as they are.
    if random.random() < climate.works and not made.sleeps:
        made = replace(made, work=_work(random, hours))
    elif random.random() < climate.spreads:
        ttft_seconds = TTFT_SECONDS if random.random() < HALF else 0.0
        made = replace(made, clients=AREAS, ttft_seconds=ttft_seconds, replicas=max(2, made.replicas))
    made = replace(made, varied=random.random() < climate.varies)
    made = replace(made, unnamed=random.random() < climate.renames)
    if random.random() < climate.hedges and made.spot and made.work is None:
        made = replace(made, hedge=_hedge(random, made.replicas), sleeps=random.random() < ASLEEP)
    made = replace(made, limits=_limits(random, made) if random.random() < climate.limits else None)
    if random.random() < climate.steps and made.work is None and made.limits is None:
        made = replace(made, steps=True, faults=(*made.faults, *_steps(random, len(made.faults), hours)))
    if random.random() < climate.lates:
        made = replace(made, late=True, faults=(*made.faults, *_lates(random, len(made.faults), hours)))
    if random.random() < climate.hosts and database == "memory":
        made = replace(made, hosts=True, faults=(*made.faults, *_between_hosts(random, len(made.faults), hours)))
    if random.random() < climate.survives and made.work is None:
        lost = _lost_regions(random, len(made.faults), hours)
        made = replace(made, survives=True, limits=_with_room_for_spares(made), faults=(*made.faults, *lost))
    return _with_rarer_things(made, random, climate)


def _with_rarer_things(made: Setting, random: Random, climate: Climate) -> Setting:
    """Draw what befalls any day alike, one after the other, each with kinds of its own."""
    if random.random() < climate.commands:
        made = _with(replace(made, commands=True), _commands(random, len(made.faults), made.hours))
    if random.random() < climate.hangs:
        made = _with(replace(made, hangs=True), _hangs(random, len(made.faults), made.hours))
    if random.random() < climate.full:
        made = _with(replace(made, full=True), _full_disks(random, len(made.faults), made.hours))
    if random.random() < climate.silent:
        made = _with(replace(made, silent=True), _silences(random, len(made.faults), made.hours))
    if random.random() < climate.lies:
        made = _with(replace(made, lies=True), _lies(random, len(made.faults), made.hours))
    return made


def _with(made: Setting, more: Iterable[Fault]) -> Setting:
    return replace(made, faults=(*made.faults, *more))


def _hedge(random: Random, replicas: int) -> Hedge:
    return Hedge(
        more=random.choice((0, 0, 1, 1, 2)),
        on_demand=random.choice((0, 0, 1, replicas)),
        stand_ins=random.random() < HALF,
        loss=random.choice(("on_demand", "other_region", "wait")),
        availability=0.99 if random.random() < HALF / 2 else None,
    )


def _steps(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(1, 3)):
        yield Fault(
            number + n,
            random.uniform(QUIET_START, hours * HOUR),
            CLOCK_STEPS,
            random.uniform(60.0, 4 * HOUR),
            random.random(),
        )


def _lates(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(2, 6)):
        kind = random.choice(tuple(LATE_KINDS))
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*LATE_KINDS[kind])
        yield Fault(number + n, at, kind, seconds, random.random())


def _between_hosts(random: Random, number: int, hours: float) -> Iterator[Fault]:
    """Draw what befalls hosts, and a machine that is lost right after it: what is about launches needs some."""
    for n in range(random.randint(2, 6)):
        kind = random.choice(tuple(HOST_KINDS))
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*HOST_KINDS[kind])
        yield Fault(number + 2 * n, at, kind, seconds, random.random())
        yield Fault(number + 2 * n + 1, at + random.uniform(0.0, 60.0), "preempt", 0.0, random.random())


def _lost_regions(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(1, 4)):
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*REGION_LOST_SECONDS)
        yield Fault(number + n, at, REGION_LOST, seconds, random.random())


def _commands(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(3, 8)):
        kind = random.choice(COMMAND_KINDS)
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*COMMAND_SECONDS)
        yield Fault(number + n, at, kind, seconds, random.random())


def _hangs(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(2, 5)):
        kind = random.choice(HANG_KINDS)
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*HANG_SECONDS)
        yield Fault(number + 2 * n, at, kind, seconds, random.random())
        meanwhile, later = random.choice(IN_A_HANG), random.uniform(-60.0, 60.0)
        yield Fault(number + 2 * n + 1, at + later, meanwhile, 0.0, random.random())


def _full_disks(random: Random, number: int, hours: float) -> Iterator[Fault]:
    """Draw disks that are full, each with three things that something would be written about."""
    for n in range(random.randint(2, 4)):
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*DISK_FULL_SECONDS)
        yield Fault(number + 4 * n, at, DISK_FULL, seconds, random.random())
        for m in (1, 2, 3):
            meanwhile, later = random.choice(ON_A_FULL_DISK), random.uniform(-60.0, 1.2 * seconds)
            lasts = KINDS[meanwhile][1] * random.random()
            yield Fault(number + 4 * n + m, at + later, meanwhile, lasts, random.random())


def _silences(random: Random, number: int, hours: float) -> Iterator[Fault]:
    """Draw databases that hang, each with two things that something would be written about."""
    for n in range(random.randint(2, 5)):
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*SILENT_SECONDS)
        yield Fault(number + 3 * n, at, random.choice(SILENT_KINDS), seconds, random.random())
        for m in (1, 2):
            meanwhile, later = random.choice(ON_A_FULL_DISK), random.uniform(-60.0, 1.2 * seconds)
            lasts = KINDS[meanwhile][1] * random.random()
            yield Fault(number + 3 * n + m, at + later, meanwhile, lasts, random.random())


def _lies(random: Random, number: int, hours: float) -> Iterator[Fault]:
    for n in range(random.randint(4, 12)):
        at, seconds = random.uniform(QUIET_START, hours * HOUR), random.uniform(*LIE_SECONDS)
        yield Fault(number + n, at, random.choice(LIE_KINDS), seconds, random.random())


def _with_room_for_spares(made: Setting) -> Limits | None:
    """Let limits leave room and money for what survives a region: half as many spares, twice as many replicas."""
    limits = made.limits
    if limits is None:
        return None
    spares = -(-(MOST_REPLICAS + MOST_MORE * made.scaled) // (PLACES_ALLOWED - 1))
    per_region = None if limits.per_region is None else max(limits.per_region, spares)
    usd_per_day = None if limits.usd_per_day is None else 2 * limits.usd_per_day
    return replace(limits, per_region=per_region, usd_per_day=usd_per_day)


def _limits(random: Random, made: Setting) -> Limits:
    """Draw limits: three places have room for all that may stand, and a budget may be too small for what people ask."""
    opens, begins = random.randrange(24), random.uniform(0.0, made.hours)
    hedge = made.hedge or Hedge()
    spares = hedge.more if hedge.availability is None else MOST_MORE
    most = MOST_REPLICAS * (1 + hedge.stand_ins) + spares + MOST_MORE * made.scaled
    drawn = Limits(
        usd_per_day=DAY / HOUR * MOST_REPLICAS * random.uniform(0.6, 1.5),
        per_region=-(-most // PLACES_ALLOWED) + random.choice((0, 0, 1)),
        window=(opens, opens + random.randint(1, 23 - opens)) if opens < LAST_HOUR else None,
        freeze=(int(begins), int(begins) + random.randint(1, 6)),
    )
    keys = [f.name for f in fields(Limits) if random.random() < HALF]
    return replace(Limits(), **{key: getattr(drawn, key) for key in keys})


def _work(random: Random, hours: float) -> Work:
    """Draw work that can be done in time: it takes a few hours, and is due by the next night, day or night again."""
    daily, preemptible = random.random() < HALF, random.random() < HALF
    takes = random.uniform(0.5, 3.5)
    longest = 22.0 if daily else max(12.0, 1.2 * hours)
    return Work(takes, random.uniform(takes + 3.0, longest), daily, preemptible)
