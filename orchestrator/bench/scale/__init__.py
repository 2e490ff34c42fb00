"""How the controller carries many services in many regions: how long a look takes, and what is left over."""
