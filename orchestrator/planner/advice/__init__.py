"""What to do about a service, and what each of its limits costs: stay, move now, or change the constraint. Pure."""
