"""What a method costs, as a value: how often the network runs for one image, over M, C, h, w and parameters."""

from dataclasses import dataclass, fields

from sympy import Expr, Integer, Ne, Piecewise, Symbol, sympify

M = Symbol("M", integer=True, positive=True)  # classes that are asked for
C = Symbol("C", integer=True, positive=True)  # channels at the layer
h = Symbol("h", integer=True, positive=True)  # rows of its grid
w = Symbol("w", integer=True, positive=True)  # columns of its grid
SIZES = (C, h, w)


@dataclass(frozen=True)
class Cost:
    """Passes for one image and M classes, beyond the one forward that all methods share.

    forwards, backwards: of the whole network. head_forwards, head_backwards: of what comes after the layer. Each is a
    number or an expression over M, C, h, w and what `parameter` names. An upper bound: a method may need less.
    """

    forwards: Expr | int = 0
    backwards: Expr | int = 0
    head_forwards: Expr | int = 0
    head_backwards: Expr | int = 0

    @property
    def terms(self) -> dict[str, Expr]:
        """The passes by kind, as expressions: only kinds of which there are any."""
        amounts = {field.name: sympify(getattr(self, field.name)) for field in fields(self)}
        return {kind: amount for kind, amount in amounts.items() if amount != 0}

    @property
    def quick(self) -> bool:
        """Whether it is next to nothing on any network: no pass of the whole, and of the head none for each channel
        or place.
        """
        terms = self.terms
        whole = {"forwards", "backwards"} & terms.keys()
        return not whole and not any(amount.free_symbols & set(SIZES) for amount in terms.values())

    def passes(self, **values: object) -> dict[str, int]:
        """The number of passes by kind, for the values of M, C, h, w and of the method's parameters by their names."""
        return {
            kind: int(amount.subs({symbol: values[symbol.name] for symbol in amount.free_symbols}))
            for kind, amount in self.terms.items()
        }


def parameter(name: str) -> Symbol:
    """A parameter of the method that states the cost."""
    return Symbol(name, integer=True, nonnegative=True)


def either(amount: Expr, other: Expr) -> Expr:
    """`amount`, and `other` where it is 0."""
    return Piecewise((amount, Ne(amount, Integer(0))), (other, True))
