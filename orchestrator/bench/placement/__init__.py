"""A year of hourly placements of one always-on replica: ours, its rivals' and the optimum under one ledger.

``instance`` and ``grid`` read, ``rivals`` and ``ours`` place, ``ledger`` counts grams from placements alone, ``report``
sums up. Nobody but the ledger and the policies with hindsight sees an hour before it is over.

Ours is the rule of ``planner/follow``. The controller weighs its moves in ``planner/moves``; ``greenctl simulate`` runs
that.
"""
