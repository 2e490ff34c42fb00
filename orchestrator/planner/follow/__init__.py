"""Where one indivisible replica should be, hour by hour, when every change of region costs a fixed mass of CO2e.

``trajectory`` is the exact dynamic program, ``past`` and ``outlook`` say what the coming hours may be like, from the
past alone, and ``rule`` decides. A decision for hour t rests on hours up to t - 1. Only ``bench placement`` runs
``rule``: the controller weighs its moves in ``planner/moves`` and ``planner/path``.
"""
