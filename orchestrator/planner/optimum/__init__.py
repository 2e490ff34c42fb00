"""The optimiser: where how many replicas should run in the coming hours, with a proof of how good the answer is.

``solve.solve`` is the face. It minimises price, emissions and the cost of starting over a horizon, under every rule of
the problem, and returns the plan with a lower bound on what any plan can cost. It is run by ``bench planner``; the
controller fills its slots in ``planner/plan``.
"""
