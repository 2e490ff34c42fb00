"""Pure renderers: a value in, text or a Rich renderable out. No I/O, no clock."""
