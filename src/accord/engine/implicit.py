"""Gradients through an optimum: what an outer objective gains by moving what an inner optimisation was given.

Let ``theta*(phi) = argmin_theta L(theta, phi)``, and F a loss of theta*. There ``grad L = 0``, so

    dF/dphi = -d/dphi <grad_theta L(theta*, phi), x>,    P x = grad F(theta*),    P the Hessian of L in theta

(the implicit function theorem; by a Neumann series: Lorraine et al. 2020, arXiv 1911.02590). No step of the inner optimisation is kept,
and of P there are products alone.

A bilevel `Learner` composes with `fit` so: its `experience` finds the gradient, its `forward` returns a loss that has it (`along`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, "d"]
Product = Callable[[Vector], Vector]
TINY = 1e-30


@dataclass(frozen=True)
class Solved:
    """``P x = v``, nearly.

    Attributes:
        residual: ``|v - P x| / |v|``; near 1 x is hardly more than a multiple of v.
        terms: products with P that it took.
    """

    x: Vector
    residual: float
    terms: int


Solver = Callable[[Product, Vector], Solved]


def neumann(product: Product, v: Vector, *, terms: int = 5, rate: float = 1e-2) -> Solved:
    """``x = rate sum_{i < terms} (I - rate P)^i v``, which goes to ``P^-1 v`` if all eigenvalues of P lie in (0, 2 / rate).

    What is left over, ``v - P x``, is the series' next term; once that is longer than v the series runs away, and ends.

    Args:
        terms: at least 1; with one alone, x is ``rate v``.
    """
    x, term, size = torch.zeros_like(v), v, float(v.norm()) + TINY
    left, i = 1.0, 0
    while i < terms and left <= 1:
        x, term, i = x + rate * term, term - rate * product(term), i + 1
        left = float(term.norm()) / size
    return Solved(x, left, i)


def conjugate_gradients(product: Product, v: Vector, *, terms: int = 20, damping: float = 0.0) -> Solved:
    """``(P + damping I) x = v``, exact after as many terms as that matrix has different eigenvalues; ends where it curves downwards.

    Args:
        damping: at least 0; a P that is not positive wants more than its lowest eigenvalue lies below 0. The residual is of the sum.
    """
    x, left, size = torch.zeros_like(v), v, float(v.norm()) + TINY
    way, square, i = left, float(left @ left), 0
    while i < terms and square**0.5 > 1e-7 * size:
        ahead, i = product(way) + damping * way, i + 1
        if not (curve := float(way @ ahead)) > 0:
            break
        x, left = x + square / curve * way, left - square / curve * ahead
        before, square = square, float(left @ left)
        way = left + square / before * way
    return Solved(x, square**0.5 / size, i)


def implicit_gradient(inner: Float[Tensor, ""], towards: Sequence[Tensor], theta: Sequence[Tensor], phi: Sequence[Tensor],
                      solve: Solver = neumann) -> tuple[list[Tensor], Solved]:  # fmt: skip
    """dF/dphi, and how the system was solved.

    Args:
        inner: ``L(theta, phi)`` with its graph, theta near its minimum. towards: grad F, a tensor for each of theta.
        theta, phi: what each of them holds; what L does not see of them gets 0.
    """
    slopes = flat(torch.autograd.grad(inner, theta, create_graph=True, materialize_grads=True))

    def product(q: Vector) -> Vector:
        return flat(torch.autograd.grad(slopes, theta, q, retain_graph=True, materialize_grads=True))

    solved = solve(product, flat(towards).detach())
    found = torch.autograd.grad(slopes, phi, -solved.x, materialize_grads=True)
    return list(found), solved


def flat(tensors: Sequence[Tensor]) -> Vector:
    """Tensors end to end."""
    return torch.cat([t.reshape(-1) for t in tensors])


def along(phi: Sequence[Tensor], gradient: Sequence[Tensor]) -> Float[Tensor, ""]:
    """``sum <g, phi>``, a loss whose gradient is the given one."""
    return torch.stack([(g.detach() * p).sum() for g, p in zip(gradient, phi, strict=True)]).sum()
