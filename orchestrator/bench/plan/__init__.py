"""One question to two planners: where does this service go, over whole catalogues, and how long does the answer take?

Ours is the plan that ``greenctl plan`` makes. The rival is SkyPilot's own optimizer, which minimises cost over the same
catalogue files, in a process and a home of its own.
"""
