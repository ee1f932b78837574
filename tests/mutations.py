"""The small errors that `mutants.py` writes into a formula: each a change of one node of the syntax tree."""

import ast
import copy
import dataclasses
from collections.abc import Iterator, Sequence

SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add}
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPPOSITE = {"min": "max", "amin": "amax", "minimum": "maximum", "argmin": "argmax", "sum": "mean"}
OPPOSITE |= {other: one for one, other in OPPOSITE.items()}
GRIDS = ("hw", "HW", "ij", "yx")
SIZES = ("shape", "numel", "device", "dtype")  # of whatever it is, they are the same
LEFT_OUT = ("unfit", "check", "needs", "paired", "facts")  # they say what fits and what was done: no map, no score


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change; `key` names it by its code, wherever it stands: `old -> new`."""

    kind: str
    line: int
    key: str
    tree: ast.Module


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of its lines."""
    tree = ast.parse(source)
    found = [(kind, node, new) for node in formulas(tree) for kind, new in changes(node)]
    return sorted((mutant_of(tree, *one) for one in found), key=lambda mutant: mutant.line)


def chosen(every: Sequence[Mutant], most: int) -> list[Mutant]:
    """At most so many, evenly over the kinds and the lines; always the same."""
    ranked = sorted(every, key=lambda mutant: (mutant.kind, mutant.line))
    places = sorted({i * len(ranked) // most for i in range(most)}) if len(ranked) > most else range(len(ranked))
    return [ranked[place] for place in places]


def formulas(node: ast.AST) -> Iterator[ast.expr]:
    """Every expression but those of messages, annotations and functions that make no number."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in ("annotation", "returns", "msg"):
                continue
            if isinstance(child, (ast.Raise, ast.JoinedStr)) or getattr(child, "name", None) in LEFT_OUT:
                continue
            if isinstance(child, ast.expr) and not (isinstance(node, ast.Attribute) and node.attr in SIZES):
                yield child
            yield from formulas(child)


def changes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """What can be wrong with one node: the kind of error, and what stands there instead."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if not (text(left) or text(right)):
            if type(op) in SIGNS:
                yield "sign", ast.BinOp(left, SIGNS[type(op)](), right)
            elif isinstance(op, ast.Mult):
                yield "factor", ast.BinOp(ast.Constant(2), ast.Mult(), node)
                yield "square", ast.BinOp(ast.BinOp(left, ast.Pow(), ast.Constant(2)), ast.Mult(), right)
            elif isinstance(op, ast.Div):
                two = isinstance(right, ast.Constant) and right.value == 2
                yield "factor", left if two else ast.BinOp(ast.Constant(2), ast.Mult(), node)
            elif isinstance(op, ast.Pow):
                yield "square", left
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield "sign", operand
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in TURNED:
            yield "comparison", ast.Compare(left, [TURNED[type(op)]()], [right])
        case ast.Call(func=ast.Attribute(value=value, attr=name)):
            yield from of_call(node, value, name)
        case ast.Subscript(value=value, slice=index) if (other := exchanged(index)) is not None:
            yield "classes", ast.Subscript(value, other, node.ctx)
        case ast.Tuple(elts=[ast.Name(id=first), ast.Name(id=second)]) if first + second in GRIDS:
            if isinstance(node.ctx, ast.Load):
                yield "grid", ast.Tuple(node.elts[::-1], node.ctx)


def of_call(node: ast.Call, value: ast.expr, name: str) -> Iterator[tuple[str, ast.expr]]:
    if name in OPPOSITE:
        kind = "factor" if name in ("sum", "mean") else "extreme"
        yield kind, ast.Call(ast.Attribute(value, OPPOSITE[name], ast.Load()), node.args, node.keywords)
    if name == "flip" or (name == "clamp" and [word.arg for word in node.keywords] == ["min"] and zero(node)):
        yield "classes" if name == "flip" else "clamp", value
    if name == "square":
        yield "square", value
    if name == "einsum" and isinstance(node.args[0], ast.Constant):
        formula, first, *rest = node.args
        yield "square", ast.Call(node.func, [formula, ast.BinOp(first, ast.Pow(), ast.Constant(2)), *rest], [])
        head, arrow, tail = formula.value.partition("->")
        for grid in GRIDS:
            if grid in tail:
                turned = ast.Constant(head + arrow + tail.replace(grid, grid[::-1]))
                yield "grid", ast.Call(node.func, [turned, first, *rest], [])


def text(node: ast.expr) -> bool:
    """Text, or a list: neither is added up as numbers are."""
    return isinstance(node, (ast.JoinedStr, ast.List)) or isinstance(getattr(node, "value", None), str)


def zero(call: ast.Call) -> bool:
    return isinstance(call.keywords[0].value, ast.Constant) and call.keywords[0].value.value == 0


def exchanged(index: ast.expr) -> ast.expr | None:
    """An index that takes the second for the first, or the other way round: `[0]`, `[:, 1]`."""
    match index:
        case ast.Constant(value=0 | 1 as place) if not isinstance(place, bool):
            return ast.Constant(1 - place)
        case ast.Tuple(elts=[*before, ast.Constant(value=0 | 1 as place)]):
            return ast.Tuple([*before, ast.Constant(1 - place)], ast.Load())
    return None


def mutant_of(tree: ast.Module, kind: str, node: ast.expr, new: ast.expr) -> Mutant:
    whole, old, other = copy.deepcopy((tree, node, new))  # together: `old` is the node in the copied tree

    class Replace(ast.NodeTransformer):
        def visit(self, one: ast.AST) -> ast.AST:
            return other if one is old else self.generic_visit(one)

    changed = ast.fix_missing_locations(Replace().visit(whole))
    return Mutant(kind, node.lineno, f"{ast.unparse(node)} -> {ast.unparse(new)}", changed)
