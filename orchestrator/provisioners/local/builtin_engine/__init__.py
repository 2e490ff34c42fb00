"""An OpenAI-compatible engine without a model: fast tests, demonstrations without vLLM, and faults on demand.

It speaks as vLLM does on the routes that we use, so that everything around an engine can be exercised in a second. Its
text is made of words from a list, chosen by a hash of what was said before. Every answer says so
(``system_fingerprint`` and the ``x-greenctl-engine`` header); it runs only where a spec says ``engine: builtin``.
"""
