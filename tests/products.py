"""What the tests of costs count: the products of a program."""

from __future__ import annotations

import math


def product_flops(jaxpr) -> int:
    """FLOPs of all products in a jaxpr; the bodies of calls included, of loops once, of conditions all branches."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        for value in equation.params.values():
            for part in (
                value if isinstance(value, tuple | list) else (value,)
            ):  # the branches of a condition are several
                inner = getattr(part, "jaxpr", part)
                total += product_flops(inner) if hasattr(inner, "eqns") else 0
    return total
