"""How good forecasts of grid carbon intensity are: errors, bands, ranks, and what they are worth to decisions.

Forecasts are issued through a recorded year, each from what was known then, by ``contenders``; ``scores``, ``choices``
and ``freshness`` judge them on the hours that all of them forecast.
"""
