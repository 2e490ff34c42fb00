"""What people write: YAML files, checked strictly and turned into frozen domain values.

Start at :mod:`orchestrator.spec.service_file`. Nothing here contacts anything; the only I/O is reading the file named
and the policy and template files that ship with the package.
"""
