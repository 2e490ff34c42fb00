"""What runs on the machines: carried there as files, standard library only, imported by nobody here."""
