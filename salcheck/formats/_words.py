"""How figures are written in tables."""


def p_value(p: float | None) -> str:
    """A p-value with four digits: `<.0001`, `.0123`, `1`; empty for None."""
    if p is None:
        return ""
    if p < 0.0001:
        return "<.0001"
    return "1" if p > 0.99995 else f"{p:.4f}".lstrip("0")


def figure(value: float | None, digits: int = 1) -> str:
    """A number with `digits` digits after the point; empty for None and NaN."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return ""
    return f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """`[low, high]`; empty for None."""
    return "" if low is None or high is None else f"[{figure(low, digits)}, {figure(high, digits)}]"


def share(value: float | None) -> str:
    """A share in 0...1 as a whole percentage: `63 %`; empty for None."""
    return "" if value is None else f"{100 * value:.0f} %"
