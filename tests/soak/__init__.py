"""Long campaigns: ``python -m tests.soak NAME --count N --seed S``, in child processes.

A campaign is a module here with ``run(count, seed) -> Result``; it is deterministic in its seed.
Its numbers are added up; where it has ``expected()``, names that are missing from the sums of a
campaign of ``FULL`` cases or more are failures. A module with ``conclude(totals) -> failures``
prints the sums itself; one with ``prepare()`` makes first what its children share.
The command runs it in children of a bounded size (``CHUNK`` cases where the module says so), so
that a crash costs one child, is counted, and names the seed that made it.
"""
