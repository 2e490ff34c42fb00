"""How fast, and how provably well, the optimiser plans random worlds.

It is ``planner/optimum/solve.py``. The controller plans with ``planner/plan.py``, of whose parts one is in
``planner/optimum``, the seats (decision 0017).
"""
