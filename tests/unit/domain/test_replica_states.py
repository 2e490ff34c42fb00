"""The arrows of a replica's life."""

from orchestrator.domain.replica import ENDED, LIVE, NEXT_STATES, PAID, ReplicaState


class TestArrows:
    def test_every_state_says_where_it_leads(self) -> None:
        """A new state without arrows would be a trap."""
        assert set(NEXT_STATES) == set(ReplicaState)

    def test_ends_are_ends(self) -> None:
        """FAILED, LOST and TERMINATED never come back to life."""
        assert all(not NEXT_STATES[state] for state in ENDED)

    def test_every_life_can_end(self) -> None:
        """From each state some end is reachable, so that everything can be taken down."""
        for state in ReplicaState:
            reached, frontier = {state}, {state}
            while frontier:
                frontier = {n for s in frontier for n in NEXT_STATES[s]} - reached
                reached |= frontier
            assert reached & ENDED

    def test_nothing_becomes_younger(self) -> None:
        """Following arrows never returns to a state: a draining replica never serves again."""
        order = list(ReplicaState)
        assert all(order.index(n) > order.index(state) for state, nexts in NEXT_STATES.items() for n in nexts)

    def test_every_living_replica_can_be_told_to_leave(self) -> None:
        """DRAINING is reachable in one step from everything that lives, a launch under way included."""
        assert all(ReplicaState.DRAINING in NEXT_STATES[state] for state in LIVE)

    def test_living_and_ended_exclude_each_other(self) -> None:
        """A draining replica is neither: it counts no longer, but it is still paid for."""
        assert not LIVE & ENDED
        assert not PAID & ENDED
        assert set(ReplicaState) - LIVE - ENDED == {ReplicaState.DRAINING}
        assert ReplicaState.DRAINING in PAID
