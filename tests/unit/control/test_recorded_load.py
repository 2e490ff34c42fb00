"""The load that records of energy tell of, where no gateway is asked: requests under way, of all replicas together."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.control.gather import _load_on_record
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.time import Window
from tests.builders import offer, replica
from tests.store_samples import NOW, a_sample

MINUTE = timedelta(minutes=1)
READY = [replace(replica(offer("sky/se"), slot), state=ReplicaState.READY) for slot in (0, 1)]


def test_replicas_at_the_same_time_add_up() -> None:
    """A fleet has under way what its replicas have: no mean of them, which would follow how many there are."""
    samples = [a_sample("chat-1", mean_batch=3.0), a_sample("chat-2", mean_batch=5.0)]
    found = _load_on_record(samples, READY, 1.0)
    assert found is not None
    assert (found.mean_in_flight, found.seconds, found.serving) == (pytest.approx(8.0), 60.0, 2)
    assert (found.prompt_tokens, found.output_tokens) == (None, None)


def test_a_stretch_without_samples_is_not_one_without_load() -> None:
    """A controller that was away for minutes thins nothing out."""
    samples = [a_sample(start=NOW, mean_batch=4.0), a_sample(start=NOW + 7 * MINUTE, mean_batch=6.0)]
    found = _load_on_record(samples, READY, 1.0)
    assert found is not None
    assert (found.mean_in_flight, found.seconds) == (pytest.approx(5.0), 120.0)


def test_a_replayed_grid_is_longer_than_the_running() -> None:
    """Windows are grid time: an hour of it at rate 60 is a minute in which requests were under way."""
    hour = a_sample(window=Window.starting(NOW, 60 * MINUTE), mean_batch=2.0)
    found = _load_on_record([hour], READY, 60.0)
    assert found is not None
    assert (found.mean_in_flight, found.seconds) == (pytest.approx(2.0), 60.0)


def test_no_samples_are_no_load_of_zero() -> None:
    """Nobody knows; a sample of an idle engine is something else."""
    assert _load_on_record([], READY, 1.0) is None
    idle = _load_on_record([a_sample(mean_batch=0.0)], READY, 1.0)
    assert idle is not None
    assert idle.mean_in_flight == 0.0
