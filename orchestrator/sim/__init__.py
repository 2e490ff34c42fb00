"""The twin: the same controller, planner and ledger on a virtual clock, over what was recorded, beside its rivals.

``simulate`` runs a ``request``: ``layout`` says what anybody may use, ``runs`` makes one policy's row, ``notes`` what
has to be known of it. ``grid``, ``stock`` and ``workload`` hold what was recorded; ``cloud``, ``traffic`` and ``world``
are the world around the real controller; ``rules``, ``fleet`` and ``oracle`` are the rivals, ``batch`` is what all of
them do with work that has a due time, and ``bill`` counts everybody alike with the product's own ledger. Randomness
lives in ``stock`` alone, and comes from the seed.
"""
