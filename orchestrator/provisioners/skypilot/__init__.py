"""The clouds behind SkyPilot: one SkyPilot cluster per replica."""
