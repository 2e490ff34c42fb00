"""Bad days of the controller, simulated: everything of a fault model at once, and promises checked at every call.

The controller, the planner and the store are the real ones, in simulated time; clouds, gateways, engines, grids, price
lists and people are simulated around them. A run follows from its seed, byte for byte.
"""
