"""pycparser's parser with our tokens, kernel C's GNU forms, BCC's table macros, and recovery.

What is overridden, and why:

- the token stream and coordinates: our tokens are the stream and are the coordinates;
- `_is_type_in_scope`: typedef names that the text does not declare come from the target's BTF;
- forms that pycparser refuses: ``asm``, ``a ?: b``, case ranges, ``field: value``, range
  designators, builtins that take types, statement labels named like a type;
- file-level calls such as ``BPF_HASH(...)``;
- errors: a failed declaration or statement is reported, skipped, and parsing goes on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from pycparser import c_ast
from pycparser.c_parser import CParser, ParseError

from minibcc.compiler.dialect.macros import TABLE_MACROS
from minibcc.compiler.kernel import KernelNames
from minibcc.compiler.parse import Syntax
from minibcc.compiler.parse.mistakes import explain
from minibcc.compiler.parse.stream import convert
from minibcc.compiler.preprocess.lexer import Token

if TYPE_CHECKING:
    from minibcc.compiler.parse.attributes import Attribute
    from minibcc.compiler.preprocess import Preprocessed
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target

TYPE_BUILTINS = {
    "__builtin_types_compatible_p",
    "__builtin_choose_expr",
    "__builtin_preserve_type_info",
    "__builtin_btf_type_id",
}
_WANTED = {
    "Invalid expression": "expression",
    "Invalid constant": "expression",
    "Invalid declarator": "ID",
    "Invalid specifier list": "declaration",
    "Invalid struct reference": "ID",
    "Missing type in declaration": "declaration",
}


class _NoLexer:
    """Stands where the parser wants a lexer: the tokens are made already."""

    def __init__(self, error_func: Any, dialect: str) -> None:
        self.filename = ""

    def token(self) -> None:
        return None


class _Stream:
    """The token list with a position, as the parser's `_TokenStream`."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.index = 0

    def peek(self, k: int = 1) -> Token | None:
        position = self.index + k - 1
        return self.tokens[position] if 0 <= position < len(self.tokens) else None

    def next(self) -> Token | None:
        if self.index >= len(self.tokens):
            return None
        token = self.tokens[self.index]
        self.index += 1
        return token

    def mark(self) -> int:
        return self.index

    def reset(self, mark: int) -> None:
        self.index = mark


class Parser(CParser):  # type: ignore[misc]  # pycparser has no py.typed
    """One parse of one text."""

    def __init__(self, preprocessed: Preprocessed, target: Target, reporter: Reporter) -> None:
        super().__init__(lexer=_NoLexer, dialect="c23")
        tokens, attributes, packs = convert(preprocessed.tokens, reporter)
        reporter.check()  # what is no C in its words yields nonsense as a text
        self._tokens = self._stream = _Stream(tokens)
        self._kernel = KernelNames(target)
        self._reporter = reporter
        self._preprocessed = preprocessed
        self._stretches: dict[int, tuple[Token, Token]] = {}
        self._known: list[Any] = []  # pycparser drops nodes: no other may get the `id` of one
        self._loose: list[Attribute] = attributes
        self._packs: dict[int, int] = {}
        self._pack_changes = packs
        self._attributes: dict[int, list[Attribute]] = {}
        self._chain: tuple[Any, Any] = (None, None)  # a declarator and its last modifier
        self._broken = False
        self._nested = False  # a missing '}' has been reported where the next function begins
        self._wanted = ""

    def run(self) -> Syntax:
        nodes = self._parse_translation_unit() if self._stream.tokens else []
        return Syntax(
            nodes, self._stretches, self._attributes, self._packs, self._preprocessed, self._broken
        )

    # --- names, coordinates, errors ------------------------------------------------------------

    def _is_type_in_scope(self, name: str) -> bool:
        for scope in reversed(self._scope_stack):
            if name in scope:
                return bool(scope[name])
        return self._kernel.is_typedef(name)

    @property
    def here(self) -> Token | None:
        """The token that the parser has come to."""
        return self._stream.peek()

    def _tok_coord(self, tok: Token) -> Token:
        return tok

    def _parse_error(self, msg: str, coord: Any) -> NoReturn:
        self._broken = True
        wanted = self._wanted or _WANTED.get(msg, "")
        self._wanted = ""
        index = self._stream.index
        if hasattr(coord, "lineno") and index > 0 and self._stream.tokens[index - 1] is coord:
            index -= 1
        if "previously declared" in msg:
            self._reporter.error("parse/redeclared", msg[0].lower() + msg[1:], coord.span)
        elif not (wanted == "RBRACE" and self.here is None and self._nested):
            outside = len(self._scope_stack) == 1
            problem = explain(wanted, self._stream.tokens, index, self._type_names(), outside)
            self._nested = self._nested or problem.code == "parse/nested-function"
            self._reporter.add(problem)
        raise ParseError(msg)

    def _type_names(self) -> list[str]:
        own = [name for scope in self._scope_stack for name, is_type in scope.items() if is_type]
        return own + self._kernel.common_types()

    def _expect(self, token_type: str) -> Token:
        token = self._peek()
        if token is None or token.type != token_type:
            if token_type == "SEMI" and self._repaired():
                return self._stream.tokens[self._stream.index - 1]
            self._wanted = token_type
            self._parse_error("", None)
        return self._advance()  # type: ignore[no-any-return]  # pycparser's

    def _repaired(self) -> bool:
        """Whether nothing is wrong but a semicolon that is missing at the end of a line, of a
        block or before a name: that is reported, and parsing goes on as if it stood there."""
        tokens, at = self._stream.tokens, self._stream.index
        if at == 0 or (
            at < len(tokens)
            and tokens[at].lineno == tokens[at - 1].lineno
            and tokens[at].type not in ("ID", "RBRACE")
        ):
            return False
        problem = explain("SEMI", tokens, at, self._type_names(), len(self._scope_stack) == 1)
        if problem.code != "parse/missing-semicolon":
            return False
        self._reporter.add(problem, mended=True)
        return True

    def _cover(self, node: Any, start: int) -> Any:
        """Notes the stretch of tokens from `start` to here as the node's place."""
        if node is not None and id(node) not in self._stretches:
            tokens = self._stream.tokens
            end = max(start, self._stream.index - 1)
            self._stretches[id(node)] = (tokens[min(start, len(tokens) - 1)], tokens[end])
            self._known.append(node)
        return node

    def _claim(self, start: int, end: int) -> list[Attribute]:
        """Takes the attributes that stand between tokens `start` and `end`."""
        first = bisect_left(self._loose, start, key=_index)
        behind = bisect_right(self._loose, end, first, key=_index)
        taken = self._loose[first:behind]
        del self._loose[first:behind]
        return taken

    def _give(self, node: Any, attributes: list[Attribute]) -> None:
        if attributes:
            self._attributes.setdefault(id(node), []).extend(attributes)
            self._known.append(node)

    # --- file level, recovery ------------------------------------------------------------------

    def _parse_translation_unit(self) -> list[Any]:
        out: list[Any] = []
        while self._peek() is not None:
            start = self._stream.index
            try:
                out.extend(self._parse_external_declaration())
            except ParseError:
                del self._scope_stack[1:]
                self._typedef_checked_token = None
                self._skip_declaration(start)
        return out

    def _skip_declaration(self, start: int) -> None:
        """Goes to the next thing at file level: behind the ``;`` or ``}`` that ends this one, or
        to a token in the first column that can only begin another."""
        tokens = self._stream.tokens
        failed = self._stream.index
        depth = 0
        index = start
        while index < len(tokens):
            token = tokens[index]
            if (
                index >= failed
                and index > start
                and token.column == 1
                and token.type not in _NEVER_FIRST
                and tokens[index - 1].lineno < token.lineno
            ):
                break
            if token.type == "LBRACE":
                depth += 1
            elif token.type == "RBRACE":
                depth -= 1
            index += 1
            if depth <= 0 and token.type in ("SEMI", "RBRACE"):
                following = tokens[index].type if index < len(tokens) else ""
                if (index > failed or token.type == "RBRACE") and following != "SEMI":
                    break
        self._stream.index = max(index, start + 1)

    def _parse_external_declaration(self) -> list[Any]:
        token = self._peek()
        start = self._stream.index
        following = self._stream.peek(2)
        if token is None:
            return []
        is_call = following is not None and following.value == "("
        if token.value in TABLE_MACROS and is_call:
            return [self._parse_table_macro()]
        if token.type == "ASM":
            node = self._parse_asm()
            return [node]
        if token.type == "TYPEID" and not is_call:
            token = None
        if token is not None and token.type == "ID" and not is_call:
            self._wanted = "declaration"
            self._parse_error("", None)
        if token is not None and not self._starts_declaration() and token.type not in _FILE_LEVEL:
            self._wanted = "declaration"
            self._parse_error("", None)
        nodes: list[Any] = super()._parse_external_declaration()
        self._attribute_all(nodes, start)
        return nodes

    def _attribute_all(self, nodes: list[Any], start: int) -> None:
        """Hands the attributes of a declaration to its declarators."""
        if not self._loose:
            return
        attributes = self._claim(start, self._stream.index)
        if not attributes:
            return
        declared = [node for node in nodes if isinstance(node, c_ast.Decl | c_ast.Typedef)]
        tokens = self._stream.tokens
        position = {id(tokens[i]): i for i in range(start, self._stream.index)}
        for attribute in attributes:
            owner = None
            for node in declared:
                if position.get(id(node.coord), start) < attribute.index:
                    owner = node
            for node in [owner] if owner is not None else declared:
                self._give(node, [attribute])

    def _parse_function_definition(self, spec: Any, decl: Any) -> Any:
        brace = self._stream.index
        tokens = self._stream.tokens
        start = brace - 1
        while start > 0 and tokens[start - 1].type not in ("SEMI", "RBRACE", "PPPRAGMASTR"):
            start -= 1
        attributes = self._claim(start, brace)
        node = super()._parse_function_definition(spec, decl)
        self._give(node.decl, attributes)
        if node.param_decls:
            self._declare_old_parameters(node)
        return self._cover(node, start)

    def _declare_old_parameters(self, node: Any) -> None:
        """``f(a, b) int a, b; {...}`` as ``f(int a, int b) {...}``."""
        declared = {each.name: each for each in node.param_decls}
        arguments = node.decl.type.args
        named = {each.name: each for each in arguments.params} if arguments else {}
        for name in [*declared, *named]:
            if name not in declared or name not in named:
                where = "in the list of parameters" if name in declared else "behind the list"
                at = (declared if name in declared else named)[name].coord
                self._reporter.error(
                    "parse/old-parameters",
                    f"'{name}' is not declared {where}",
                    at.span,
                    help=["write the types into the list: f(int a, int b)"],
                )
                kind = c_ast.TypeDecl(name, [], None, c_ast.IdentifierType(["int"], at), coord=at)
                made = c_ast.Decl(name, [], [], [], [], kind, None, None, at)
                declared.setdefault(name, made)  # so that its uses are no mistakes as well
        if arguments:
            arguments.params = [declared[name] for name in named]
        node.param_decls = None

    def _parse_table_macro(self) -> Any:
        """``BPF_HASH(name, key, leaf, size)``: arguments are types, names, numbers or strings."""
        name = self._advance()
        self._expect("LPAREN")
        arguments: list[Any] = []
        while self._peek_type() != "RPAREN":
            start = self._stream.index
            following = self._stream.peek(2)
            token = self._peek()
            single = following is not None and following.type in ("COMMA", "RPAREN")
            wants_name = TABLE_MACROS[name.value].wants_name(len(arguments))
            if token is not None and token.type in ("ID", "TYPEID") and single and wants_name:
                argument = c_ast.ID(self._advance().value, token)
            elif self._starts_declaration():
                argument = self._parse_type_name()
            else:
                argument = self._parse_assignment_expression()
            arguments.append(self._cover(argument, start))
            if not self._accept("COMMA"):
                break
        self._expect("RPAREN")
        node = c_ast.FuncCall(c_ast.ID(name.value, name), c_ast.ExprList(arguments, name), name)
        self._cover(node, self._stream.tokens.index(name, max(0, self._stream.index - 200)))
        self._scope_stack[0][self._table_name(arguments)] = False
        self._expect("SEMI")
        return node

    def _table_name(self, arguments: list[Any]) -> str:
        for argument in arguments:
            if isinstance(argument, c_ast.ID):
                return str(argument.name)
        return ""

    # --- declarations --------------------------------------------------------------------------

    def _parse_declaration(self) -> list[Any]:
        start = self._stream.index
        nodes: list[Any] = super()._parse_declaration()
        self._attribute_all(nodes, start)
        return nodes

    def _parse_struct_declaration(self) -> list[Any] | None:
        start = self._stream.index
        if not self._starts_declaration() and self._peek_type() == "ID":
            self._wanted = "declaration"
            self._parse_error("", None)
        nodes: list[Any] | None = super()._parse_struct_declaration()
        if nodes:
            self._attribute_all(nodes, start)
        return nodes

    def _parse_struct_or_union_specifier(self) -> Any:
        start = self._stream.index
        node = super()._parse_struct_or_union_specifier()
        if node.decls is not None:
            self._close_struct()
            self._give(node, self._claim(start + 1, start + 1))
            self._give(node, self._claim(self._stream.index, self._stream.index))
            if self._pack_changes:
                before = [pack.align for pack in self._pack_changes if pack.start <= start]
                self._packs[id(node)] = before[-1] if before else 0
        return node

    def _close_struct(self) -> None:
        """Puts in the semicolon behind a struct whose next line begins something else."""
        tokens, at = self._stream.tokens, self._stream.index
        found = tokens[at] if at < len(tokens) else None
        before = tokens[at - 1]
        if found is None or found.lineno == before.lineno or found.column != 1:
            return
        following = tokens[at + 1].type if at + 1 < len(tokens) else ""
        if self._starts_declaration() or (found.type == "ID" and following == "LPAREN"):
            self._repaired()
            semicolon = Token("SEMI", ";", before.lineno, before.column, before.filename)
            tokens.insert(at, semicolon)

    def _parse_enum_specifier(self) -> Any:
        start = self._stream.index
        node = super()._parse_enum_specifier()
        if node.values is not None:
            self._give(node, self._claim(start, self._stream.index))
        return node

    def _parse_parameter_declaration(self) -> Any:
        start = self._stream.index
        node = super()._parse_parameter_declaration()
        self._give(node, self._claim(start, self._stream.index))
        return self._cover(node, start)

    def _parse_identifier_list(self) -> Any:
        """Names alone are parameters if declarations follow, else a type is missing."""
        behind = islice(self._stream.tokens, self._stream.index, None)
        closing = next((token for token in behind if token.type not in ("ID", "COMMA")), None)
        first = next(behind, None)
        old = closing is not None and closing.type == "RPAREN" and first is not None
        if old and self._starts_declaration(first):
            return super()._parse_identifier_list()
        self._wanted = "declaration"
        return self._parse_error("", None)

    def _parse_typeof_specifier(self) -> Any:
        token = self._advance()
        self._expect("LPAREN")
        if self._starts_declaration():
            inside = self._parse_type_name()
        else:
            inside = self._parse_expression()
        self._expect("RPAREN")
        return c_ast.TypeOf(token.value, inside, token)

    def _type_modify_decl(self, decl: Any, modifier: Any) -> Any:
        """As pycparser's, but the end of a declarator that grows is kept, not looked for again:
        ``x[1][1]...`` takes the time of its length, not of its square."""
        end = modifier
        while end.type:
            end = end.type
        known, last = self._chain
        if isinstance(decl, c_ast.TypeDecl):
            end.type, head = decl, modifier
        else:
            head = decl
            if decl is not known:
                last = decl
                while not isinstance(last.type, c_ast.TypeDecl):
                    last = last.type
            end.type, last.type = last.type, modifier
        self._chain = head, end
        return head

    def _parse_init_declarator(self, id_only: bool = False) -> Any:
        declarator = self._parse_id_declarator() if id_only else self._parse_declarator()
        if self._accept("EQUALS"):
            return {"decl": declarator, "init": self._parse_initializer()}
        return {"decl": declarator}

    # --- initialisers --------------------------------------------------------------------------

    def _parse_initializer(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_initializer(), start)

    def _parse_initializer_list(self) -> Any:
        brace = self._stream.tokens[self._stream.index - 1]
        node = super()._parse_initializer_list()
        node.coord = brace
        return node

    def _parse_initializer_item(self) -> Any:
        start = self._stream.index
        following = self._stream.peek(2)
        if self._peek_type() in ("ID", "TYPEID") and following and following.type == "COLON":
            name = self._advance()
            self._advance()
            value = self._parse_initializer()
            node = c_ast.NamedInitializer([c_ast.ID(name.value, name)], value, name)
            return self._cover(node, start)
        node = super()._parse_initializer_item()
        if isinstance(node, c_ast.NamedInitializer):
            node.coord = self._stream.tokens[start]
            self._cover(node, start)
        return node

    def _parse_designator(self) -> Any:
        token = self._accept("LBRACKET")
        if token is None:
            return super()._parse_designator()
        low = self._parse_constant_expression()
        if self._accept("ELLIPSIS"):
            low = c_ast.BinaryOp("...", low, self._parse_constant_expression(), token)
        self._expect("RBRACKET")
        return c_ast.ArrayDesignator(low, token)

    # --- statements ----------------------------------------------------------------------------

    def _parse_block_item_list(self) -> list[Any]:
        items: list[Any] = []
        while self._peek_type() not in {"RBRACE", None}:
            start = self._stream.index
            scopes = len(self._scope_stack)
            try:
                item = self._parse_block_item()
            except ParseError:
                del self._scope_stack[scopes:]
                self._typedef_checked_token = None
                if not self._skip_statement(start):
                    raise
                continue
            if isinstance(item, c_ast.Node):
                items.append(item)
            elif item != [None]:
                items.extend(item)
        return items

    def _skip_statement(self, start: int) -> bool:
        """Goes behind the statement that began at `start` and failed; False if its end is not to
        be found, so that the whole function is given up."""
        tokens = self._stream.tokens
        failed = self._stream.index
        depth = 0
        for index in range(start, len(tokens)):
            token = tokens[index]
            if token.column == 1 and index > start and token.type not in ("RBRACE", "LBRACE"):
                return False
            if token.type == "LBRACE":
                depth += 1
            elif token.type == "RBRACE":
                depth -= 1
                if depth < 0:
                    self._stream.index = max(index, start)
                    return index >= failed
            if depth == 0 and token.type in ("SEMI", "RBRACE") and index >= failed:
                self._stream.index = index + 1
                return True
            if depth == 0 and index + 1 == failed and failed > start:
                following = tokens[failed] if failed < len(tokens) else None
                if following is not None and following.lineno > token.lineno:
                    # The semicolon was missing: the next line is a statement of its own.
                    self._stream.index = failed
                    return True
        return False

    def _parse_block_item(self) -> Any:
        start = self._stream.index
        following = self._stream.peek(2)
        kind = self._peek_type()
        if kind == "TYPEID" and following is not None and following.type == "COLON":
            return self._cover(self._parse_label(), start)
        if kind == "ID" and following is not None and following.type == "ID":
            self._advance()
            self._wanted = "SEMI"
            self._parse_error("", None)
        if kind in ("ID", "TYPEID") and following is not None and following.value == "(":
            token = self._stream.peek()
            if token is not None and token.value in TABLE_MACROS:
                self._reporter.error(
                    "parse/table-inside",
                    f"{token.value} belongs outside of functions",
                    token.span,
                    help=["declare the table before the function"],
                )
                raise ParseError("table inside")
        return super()._parse_block_item()

    def _parse_statement(self) -> Any:
        start = self._stream.index
        if self._peek_type() == "ASM":
            return self._parse_asm()
        return self._cover(super()._parse_statement(), start)

    def _parse_expression_statement(self) -> Any:
        if not self._starts_expression() and self._peek_type() != "SEMI":
            self._wanted = "expression"
            self._parse_error("", None)
        return super()._parse_expression_statement()

    def _parse_compound_statement(self, *, new_scope: bool = True) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_compound_statement(new_scope=new_scope), start)

    def _parse_label(self) -> Any:
        name = self._advance()
        self._expect("COLON")
        if self._starts_statement():
            body = self._parse_pragmacomp_or_statement()
        else:
            body = c_ast.EmptyStatement(name)
        return c_ast.Label(name.value, body, name)

    def _parse_labeled_statement(self) -> Any:
        if self._peek_type() != "CASE":
            return super()._parse_labeled_statement()
        token = self._advance()
        value = self._parse_constant_expression()
        if self._accept("ELLIPSIS"):
            value = c_ast.BinaryOp("...", value, self._parse_constant_expression(), value.coord)
        self._expect("COLON")
        if self._starts_statement():
            body = self._parse_pragmacomp_or_statement()
        else:
            body = c_ast.EmptyStatement(token)
        return c_ast.Case(value, [body], coord=token)

    def _starts_statement(self) -> bool:
        return self._peek_type() == "ASM" or bool(super()._starts_statement())

    def _parse_asm(self) -> Any:
        """``asm volatile ("" : outputs : inputs : clobbers);`` as a call of "asm" with the text and
        the operands, each an expression named by the token of its constraint."""
        start = self._stream.index
        token = self._advance()
        while self._peek_type() in ("VOLATILE", "GOTO", "INLINE"):
            self._advance()
        self._expect("LPAREN")
        arguments = [self._parse_unified_string_literal()]
        section = 0
        while self._peek_type() not in ("RPAREN", None):
            if self._accept("COLON"):
                section += 1
            elif section in (1, 2) and self._accept("LBRACKET"):
                self._advance()
                self._expect("RBRACKET")
            elif section in (1, 2) and self._peek_type() == "STRING_LITERAL":
                constraint = self._advance()
                self._expect("LPAREN")
                operand = c_ast.NamedInitializer([constraint], self._parse_expression(), constraint)
                self._expect("RPAREN")
                arguments.append(operand)
            else:
                self._advance()
        self._expect("RPAREN")
        self._expect("SEMI")
        call = c_ast.FuncCall(c_ast.ID("asm", token), c_ast.ExprList(arguments, token), token)
        return self._cover(call, start)

    # --- expressions ---------------------------------------------------------------------------

    def _parse_expression(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_expression(), start)

    def _parse_assignment_expression(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_assignment_expression(), start)

    def _parse_conditional_expression(self) -> Any:
        start = self._stream.index
        condition = self._parse_binary_expression()
        if not self._accept("CONDOP"):
            return condition
        if self._accept("COLON"):
            yes = None
        else:
            yes = self._parse_expression()
            self._expect("COLON")
        no = self._parse_conditional_expression()
        return self._cover(c_ast.TernaryOp(condition, yes, no, condition.coord), start)

    def _parse_binary_expression(self, min_prec: int = 0, lhs: Any = None) -> Any:
        start = self._stream.index
        node = super()._parse_binary_expression(min_prec, lhs)
        if lhs is not None and isinstance(node, c_ast.BinaryOp):
            first = self._stretches.get(id(lhs))
            if first is not None:
                last = self._stream.tokens[self._stream.index - 1]
                self._stretches.setdefault(id(node), (first[0], last))
                self._known.append(node)
            return node
        return self._cover(node, start)

    def _parse_cast_expression(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_cast_expression(), start)

    def _parse_unary_expression(self) -> Any:
        start = self._stream.index
        if self._peek_type() == "_ALIGNOF":
            return self._cover(self._parse_alignof(), start)
        token = self._stream.peek()
        node = super()._parse_unary_expression()
        if isinstance(node, c_ast.UnaryOp) and not node.op.startswith("p"):
            node.coord = token
        return self._cover(node, start)

    def _parse_alignof(self) -> Any:
        token = self._advance()
        result = self._try_parse_paren_type_name()
        operand = result[0] if result is not None else self._parse_unary_expression()
        return c_ast.UnaryOp("_Alignof", operand, token)

    def _parse_postfix_expression(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_postfix_expression(), start)

    def _parse_primary_expression(self) -> Any:
        start = self._stream.index
        token = self._peek()
        if token is None or not self._starts_expression(token):
            self._wanted = "expression"
            self._parse_error("", None)
        if token.value in TYPE_BUILTINS and token.type == "ID":
            return self._cover(self._parse_type_builtin(), start)
        return self._cover(super()._parse_primary_expression(), start)

    def _parse_type_builtin(self) -> Any:
        name = self._advance()
        self._expect("LPAREN")
        arguments = []
        while True:
            if self._starts_declaration():
                arguments.append(self._parse_type_name())
            else:
                arguments.append(self._parse_assignment_expression())
            if not self._accept("COMMA"):
                break
        self._expect("RPAREN")
        return c_ast.FuncCall(c_ast.ID(name.value, name), c_ast.ExprList(arguments, name), name)

    def _parse_identifier(self) -> Any:
        start = self._stream.index
        return self._cover(super()._parse_identifier(), start)

    def _parse_constant(self) -> Any:
        token = self._advance()
        kind = {"FLOAT_CONST": "float", "CHAR_CONST": "char"}.get(token.type, "int")
        return c_ast.Constant(kind, token.value, token)

    def _parse_unified_string_literal(self) -> Any:
        """The adjacent literals of a string, as a list of their spellings."""
        start = self._stream.index
        if self._peek_type() != "STRING_LITERAL":
            self._wanted = "expression"
            self._parse_error("", None)
        parts = []
        while self._peek_type() == "STRING_LITERAL":
            parts.append(self._advance().value)
        node = c_ast.Constant("string", parts, self._stream.tokens[start])
        return self._cover(node, start)


_index = attrgetter("index")
_NEVER_FIRST = ("LBRACE", "RBRACE", "RPAREN", "SEMI", "PPPRAGMA")
_FILE_LEVEL = {"SEMI", "PPPRAGMA", "_PRAGMA", "_STATIC_ASSERT", "ID", "TYPEID"}
