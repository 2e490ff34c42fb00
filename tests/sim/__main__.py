"""``python -m tests.sim``: the simulation, the crash points and the mutants from the command line; see the Makefile."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from orchestrator.bench.sim.faults import Climate, Setting, setting_of
from orchestrator.bench.sim.run import Outcome, minimised, run, story
from tests.postgres import find_binaries, running_server
from tests.sim.crash import STORIES
from tests.sim.crashing import chapters, told
from tests.sim.days import lived
from tests.sim.model import Bounds, Mistakes, Model
from tests.sim.mutants import MUTANTS, hunt
from tests.sim.search import search
from tests.sim.verify import verify

MISTAKES_IN = (Bounds(1, 2), Bounds(1, 2, backups=True), Bounds(1, 3, hosts=2))
"""The worlds in which deliberate mistakes are looked for, the smaller ones first."""

ALWAYS = {
    "work": Climate(works=1.0),
    "clients": Climate(works=0.0, spreads=1.0),
    "varied": Climate(varies=1.0),
    "unnamed": Climate(renames=1.0),
    "hedge": Climate(works=0.0, hedges=1.0),
    "limits": Climate(limits=1.0),
    "steps": Climate(works=0.0, limits=0.0, steps=1.0),
    "late": Climate(lates=1.0),
    "hosts": Climate(hosts=1.0),
    "survives": Climate(works=0.0, survives=1.0),
    "commands": Climate(commands=1.0),
    "hangs": Climate(hangs=1.0),
    "full": Climate(full=1.0),
    "silent": Climate(silent=1.0),
    "lies": Climate(lies=1.0),
}
"""Climates of which every day has something that few days have, by the name that it has in a setting."""

TELL_EVERY = 50
"""Runs after which a line says how far it is."""


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; 1 when a promise was broken, or a mutant lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    commands = parser.add_subparsers(required=True)
    sim = commands.add_parser("sim", help="random schedules of faults")
    sim.add_argument("--seeds", type=int, default=20, help="how many runs")
    sim.add_argument("--seed0", type=int, default=0, help="the first of them")
    sim.add_argument("--seed", type=int, help="this one alone, with its history")
    sim.add_argument("--seconds", type=float, default=math.inf, help="begin no further run after so long")
    sim.add_argument("--hours", type=float, default=24.0, help="simulated hours of faults in each")
    sim.add_argument("--database", choices=("memory", "sqlite", "postgres"), default="memory")
    sim.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, each with runs of its own")
    sim.add_argument("--drop", default="", help="numbers of faults to leave out, with --seed")
    sim.add_argument("--history", type=Path, help="write the whole history of --seed there")
    sim.add_argument("--with", dest="only", choices=sorted(ALWAYS), help="only days that have this, and all that can")
    sim.add_argument("--keep-whole", action="store_true", help="do not make failing runs smaller")
    sim.set_defaults(work=_sim)
    crash = commands.add_parser("crash", help="every crash point of every story")
    crash.add_argument("--seeds", type=int, default=1, help="how many worlds for each point")
    crash.add_argument("--seed0", type=int, default=0, help="the first of them")
    crash.add_argument("--every", type=int, default=1, help="only each n-th point, another one for each seed")
    crash.add_argument("--points", type=int, help="of each story in each world, spread over it; without it all")
    crash.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, each with stories of its own")
    crash.add_argument("--seconds", type=float, default=math.inf, help="begin no further run after so long")
    crash.add_argument("--pairs", action="store_true", help="two crashes, the second during the recovery")
    crash.set_defaults(work=_crash)
    mutants = commands.add_parser("mutants", help="known bugs, put into our own code: all must be caught")
    mutants.add_argument("--only", default="", help="those whose name or number has this in it")
    mutants.add_argument("--days", type=int, default=12, help="random days to look for each, beyond its own scenes")
    mutants.add_argument("--seed0", type=int, default=0, help="the first of the random days")
    mutants.set_defaults(work=_mutants)
    model = commands.add_parser("model", help="every order of events of a small model, and of its deliberate mistakes")
    model.add_argument("--names", type=int, default=2, help="intents")
    model.add_argument("--turns", type=int, default=2, help="controllers that may start after one another")
    model.add_argument("--backups", action="store_true", help="let the database be set back once")
    model.add_argument("--hosts", type=int, default=1, help="that share the database, each with a controller")
    model.add_argument("--most", type=int, default=10**7, help="worlds to look at")
    model.set_defaults(work=_model)
    longer = commands.add_parser("verify", help="bad days, crash points and the model for a while, with a report")
    longer.add_argument("--seconds", type=float, default=600.0, help="about so long")
    longer.add_argument("--seed0", type=int, default=0, help="the first seed")
    longer.add_argument("--report", type=Path, required=True, help="where to write it")
    longer.set_defaults(work=lambda chosen: verify(chosen.seconds, chosen.seed0, chosen.report))
    chosen = parser.parse_args(words)
    return int(chosen.work(chosen))


def _sim(chosen: argparse.Namespace) -> int:
    with ExitStack() as stack:
        run_it: Callable[[Setting], Outcome] = run
        if chosen.database == "postgres":
            binaries = find_binaries()
            if binaries is None:
                _say("the binaries of a PostgreSQL server are missing (Debian: apt-get install postgresql)")
                return 1
            server = stack.enter_context(running_server(binaries))

            def run_it(setting: Setting) -> Outcome:
                return run(setting, server.new_database())

        return _seeds(chosen, run_it) if chosen.seed is None else _replay(chosen, run_it)


def _seeds(chosen: argparse.Namespace, run_it: Callable[[Setting], Outcome]) -> int:
    began, spent, hours, days, looks, runs, bad = time.monotonic(), 0.0, 0.0, 0.0, 0, 0, []
    seeds = range(chosen.seed0, chosen.seed0 + chosen.seeds)
    climate = ALWAYS.get(chosen.only)
    drawn = (setting_of(seed, climate, hours=chosen.hours, database=chosen.database) for seed in seeds)
    settings = (s for s in drawn if climate is None or getattr(s, chosen.only))
    # Only a run in a database of its own can be given away to another process.
    jobs = 1 if chosen.database == "postgres" else min(chosen.jobs, chosen.seeds)
    for outcome, seconds in lived(settings, jobs, began + chosen.seconds, run_it):
        runs += 1
        spent, hours, looks = spent + seconds, hours + outcome.hours, looks + outcome.looks
        days += outcome.setting.hours * outcome.setting.services / 24
        if not outcome.is_good:
            bad.append(outcome.setting.seed)
            _tell_of(outcome, chosen, run_it)
        if runs % TELL_EVERY == 0:
            _say(f"{runs} runs so far, {len(bad)} violations")
    rate = hours / spent if spent else 0.0
    _say(f"{hours:.0f} service-hours, {looks} looks, {rate:.1f} service-hours per second of one core")
    _say(f"{days:.0f} days of faults in {time.monotonic() - began:.0f} s of {jobs} processes")
    _say(f"{runs} runs, {len(bad)} violations" + (f" (seeds {', '.join(map(str, bad))})" if bad else ""))
    return int(bool(bad) or not runs)


def _crash(chosen: argparse.Namespace) -> int:
    began, name = time.monotonic(), ""
    points, chapters_told, runs, spent, hit, bad = 0, 0, 0, 0.0, set(), 0
    seeds = range(chosen.seed0, chosen.seed0 + chosen.seeds)
    todo = chapters(seeds, chosen.every, chosen.points, pairs=chosen.pairs, seconds=chosen.seconds)
    for account in told(todo, min(chosen.jobs, len(todo))):
        if name and account.name != name:
            _say(f"{name}: {runs} runs so far")
        name = account.name
        points, runs, spent = points + account.points, runs + account.runs, spent + account.core_seconds
        hit |= account.hit
        chapters_told += bool(account.points)
        bad += len(account.broken)
        for line in account.broken:
            _say(line)
    names, modes = {(story, point) for story, point, _ in hit}, {mode for _, _, mode in hit}
    worlds = f"{len(STORIES)} stories, {len(seeds)} worlds of each"
    _say(f"{points} points in {chapters_told} of {len(todo)} chapters: {worlds}")
    _say(f"crashed at {len(names)} kinds of points in {len(modes)} modes{', and again' * chosen.pairs}")
    _say(f"{spent:.0f} s of a core in {time.monotonic() - began:.0f} s of {min(chosen.jobs, len(todo))} processes")
    _say(f"{runs} runs, {bad} violations")
    return int(bool(bad) or not runs)


def _mutants(chosen: argparse.Namespace) -> int:
    wanted = [m for m in MUTANTS if chosen.only in m.name or chosen.only == m.bug]
    killed = runs = 0
    for mutant in wanted:
        found = hunt(mutant, chosen.days, chosen.seed0)
        killed, runs = killed + bool(found.killed_by), runs + found.runs
        how = f"killed by {found.killed_by} in {found.where}" if found.killed_by else "LIVES"
        _say(f"{mutant.bug:>3} {mutant.name}: {how} ({found.runs} runs)")
    _say(f"{runs} runs, {len(wanted)} mutants, {killed} killed")
    return int(killed < len(wanted) or not wanted)


def _model(chosen: argparse.Namespace) -> int:
    began = time.process_time()
    bounds = Bounds(chosen.names, chosen.turns, backups=chosen.backups, hosts=chosen.hosts)
    found = search(Model(bounds), chosen.most)
    how_far = "all of them" if found.is_whole else "not all of them"
    _say(f"{bounds}: {found.states} worlds, {how_far}, {found.transitions} events, {found.depth} deep")
    for line in found.story:
        _say(f"  {line}")
    missed = 0
    for mistake in fields(Mistakes):
        made = Mistakes(**{mistake.name: True})
        shown = next((f for b in MISTAKES_IN if (f := search(Model(b, made), chosen.most)).broken), None)
        missed += shown is None
        how = "NOT FOUND" if shown is None else f"{shown.broken}, after {shown.states} worlds"
        _say(f"{mistake.name}: {how}")
    _say(f"{len(fields(Mistakes))} mistakes, {missed} not found; {time.process_time() - began:.0f} s of a core")
    return int(found.broken is not None or not found.is_whole or missed > 0)


def _replay(chosen: argparse.Namespace, run_it: Callable[[Setting], Outcome]) -> int:
    setting = setting_of(chosen.seed, ALWAYS.get(chosen.only), hours=chosen.hours, database=chosen.database)
    outcome = run_it(setting.without(frozenset(map(int, filter(None, chosen.drop.split(","))))))
    if chosen.history is not None:
        chosen.history.write_text("\n".join(outcome.history) + "\n")
    for line in story(outcome):
        _say(line)
    _say(f"fingerprint {outcome.fingerprint}")
    _say(f"1 runs, {int(not outcome.is_good)} violations")
    return int(not outcome.is_good)


def _tell_of(outcome: Outcome, chosen: argparse.Namespace, run_it: Callable[[Setting], Outcome]) -> None:
    seed = outcome.setting.seed
    _say(f"seed {seed}: {outcome.violations[0]}")
    small = outcome.setting
    if not chosen.keep_whole:
        small = minimised(small, outcome.violations[0].invariant, run_it=run_it)
        for fault in small.faults:
            _say(f"  {fault}")
    dropped = {f.number for f in outcome.setting.faults} - {f.number for f in small.faults}
    words = f" DROP={','.join(map(str, sorted(dropped)))}" if dropped else ""
    extra = "" if chosen.hours == 24.0 else f" HOURS={chosen.hours:g}"
    extra += "" if chosen.database == "memory" else f" DATABASE={chosen.database}"
    extra += "" if chosen.only is None else f", with --with {chosen.only}"
    _say(f"  again: make sim SEED={seed}{words}{extra}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
