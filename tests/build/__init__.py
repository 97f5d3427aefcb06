"""Commands that regenerate committed data: ``python -m tests.build NAME``.

Each module of this package is one command: its docstring says what it makes and from what, and its
function ``build()`` writes it. Data that a command makes is never edited by hand; a test says that
it is current where what it is made from is at hand.
"""
