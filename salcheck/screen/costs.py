"""What a method costs, in words."""

from sympy import Expr, Mul, Piecewise, Pow
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from salcheck.methods import Cost

LAST = ("M", "C", "h", "w")  # the order of these in a product, after numbers, sums and parameters


def cost_words(cost: Cost) -> str:
    """`samples forwards, samples × M backwards`; `nothing` where there is no pass."""
    amounts = [f"{_Printer().doprint(amount)} {kind.replace('_', ' ')}" for kind, amount in cost.terms.items()]
    return ", ".join(amounts) or "nothing"


class _Printer(StrPrinter):
    def _print_Mul(self, expr: Mul) -> str:  # noqa: N802  # sympy's names
        factors = sorted(expr.args, key=_place)
        return " × ".join(self.parenthesize(factor, PRECEDENCE["Mul"]) for factor in factors)

    def _print_Pow(self, expr: Pow, rational: bool = False) -> str:  # noqa: N802
        if expr.exp != 2:
            return super()._print_Pow(expr, rational)
        return f"{self.parenthesize(expr.base, PRECEDENCE['Pow'])}²"

    def _print_Piecewise(self, expr: Piecewise) -> str:  # noqa: N802
        return f"({' or '.join(self._print(amount) for amount, _ in expr.args)})"


def _place(factor: Expr) -> tuple[int, str]:
    if factor.is_Number:
        return (0, "")
    if not factor.is_Symbol:
        return (1, str(factor))
    return (3 + LAST.index(factor.name), "") if factor.name in LAST else (2, factor.name)
