"""The data plane: an OpenAI-compatible gateway in front of replicas in many places.

It boots and serves from its last routing table alone; the controller and the database may be down. The pure parts
(``routing``, ``sse``, ``transcript``, ``resume``, ``requests``) decide; ``node`` and ``forward`` do the I/O;
``serve_app`` (Ray Serve behind HAProxy) and ``plain`` (one process) are two fronts for the same bytes.
"""
