"""The command line: words in, tables or one JSON document out. Nothing is decided here."""
