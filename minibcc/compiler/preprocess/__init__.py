"""The preprocessor: C text to tokens, macros expanded, every token with its place.

It is our own, because the two things it must do well are what others do badly: keep the place of
every token through expansion (an error in a macro is shown where the macro is used, with a note
about its definition), and let shipped headers cost nothing until one of their names is used.

    lexer         text -> lines of tokens, by one regular expression
    macros        definitions and their expansion
    conditions    the expressions of ``#if``
    headers       where an include is found; shipped headers as an index of names
    flags         C flags, and the macros that are defined before the first line
    directives    the walk over a file's lines

Mirrors C11 section 6.10 and the GNU forms that kernel C uses (named variadic parameters, the comma
before ``##``, ``__VA_OPT__``, ``#include_next`` left out).
"""

from __future__ import annotations

from minibcc.compiler.preprocess.directives import Preprocessed, preprocess
from minibcc.compiler.preprocess.lexer import Token

__all__ = ["Preprocessed", "Token", "preprocess"]
