"""How each engine is started: which program, which words, which environment."""
