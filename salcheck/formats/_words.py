"""How figures are written in tables."""


def p_value(p: float | None) -> str:
    """A p-value to four digits: <.0001, .0123, 1."""
    if p is None:
        return ""
    if p < 0.0001:
        return "<.0001"
    return "1" if p > 0.99995 else f"{p:.4f}".lstrip("0")


def figure(value: float | None, digits: int = 1) -> str:
    """A number with so many digits after the point, or nothing where there is none."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return ""
    return f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """[low, high], or nothing."""
    return "" if low is None or high is None else f"[{figure(low, digits)}, {figure(high, digits)}]"


def share(value: float | None) -> str:
    """A share in 0...1 as a percentage without digits after the point."""
    return "" if value is None else f"{100 * value:.0f} %"
