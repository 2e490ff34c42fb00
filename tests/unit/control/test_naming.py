"""Names that a retry arrives at again."""

import re

import pytest

from orchestrator.control.naming import intent_id, replica_name, termination_id

UID = "3f2a9c0e-7d1b-4c55-9d1e-2b7c8a6f0e11"
LONG = "a-service-with-a-very-long-name-indeed"


class TestIntents:
    def test_the_same_cause_and_slot_arrive_at_the_same_intent(self) -> None:
        """A crash between two tries does not buy twice."""
        assert intent_id("op-1", 0) == intent_id("op-1", 0)

    def test_another_cause_or_slot_is_another_launch(self) -> None:
        """Also where cause and slot read the same when put together."""
        causes = [("op-1", 0), ("op-1", 1), ("op-2", 0), ("op-1/1", 0), ("op-1", 11), ("op-11", 1)]
        assert len({intent_id(*cause) for cause in causes}) == len(causes)

    def test_a_launch_has_one_termination(self) -> None:
        """A second one is the first one again."""
        assert termination_id("abc") == termination_id("abc") != termination_id("abd")


class TestReplicas:
    @pytest.mark.parametrize("service", ["chat", "a", LONG, "ends-right-at-the-dash--x", "x" * 40])
    def test_a_name_is_one_that_clouds_accept(self, service: str) -> None:
        """Lower-case letters, digits and dashes, no double dash before the intent, short."""
        name = replica_name(UID, service, intent_id("op-1", 0))
        assert re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", name)
        assert len(name) <= 63
        assert f"-{intent_id('op-1', 0)}" == name[-11:]
        assert not name[:-11].endswith("-")

    def test_it_carries_the_deployments_mark(self) -> None:
        """What is ours is recognised by its name."""
        assert replica_name(UID, "chat", "abc").startswith("gc-3f2a9c0e-chat-")

    def test_two_services_with_a_long_common_beginning_do_not_collide(self) -> None:
        """The intent tells them apart."""
        one, other = (replica_name(UID, LONG + end, intent_id(f"op-{end}", 0)) for end in ("a", "b"))
        assert one != other
