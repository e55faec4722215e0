"""Gradients through an optimum: what unrolling, finite differences and closed forms say."""

from functools import partial

import pytest
import torch
from torch import Tensor

from accord.engine.implicit import along, conjugate_gradients, flat, implicit_gradient, neumann

D, K = 6, 3
g = torch.Generator().manual_seed(0)
ROOT = torch.randn(D, D, generator=g, dtype=torch.float64)
P = ROOT @ ROOT.T / D + 0.5 * torch.eye(D, dtype=torch.float64)
C = torch.randn(D, K, generator=g, dtype=torch.float64)
GOAL = torch.randn(D, generator=g, dtype=torch.float64)
V = torch.randn(D, generator=g, dtype=torch.float64)
EIGENVALUES = torch.linalg.eigvalsh(P)
RATE = float(1 / EIGENVALUES.max())


def product(q: Tensor) -> Tensor:
    return P @ q


def quadratic(theta: Tensor, phi: Tensor) -> Tensor:
    """``1/2 (theta - C phi)' P (theta - C phi)``, lowest at C phi."""
    gap = theta - C @ phi
    return 0.5 * gap @ P @ gap


def bumpy(theta: Tensor, phi: Tensor) -> Tensor:
    """Convex and no quadratic: its curvature depends on theta and on phi."""
    return quadratic(theta, phi) + (theta * phi.repeat(D // K)).sigmoid().sum() + 0.1 * theta.pow(4).sum()


def outer(theta: Tensor) -> Tensor:
    return 0.5 * (theta - GOAL).square().sum()


def lowest(inner, phi: Tensor, steps: int = 10) -> Tensor:  # type: ignore[no-untyped-def]
    """The whole inner optimisation, by Newton's steps."""
    theta = torch.zeros(D, dtype=torch.float64)
    for _ in range(steps):
        slope = torch.func.grad(inner)(theta, phi)
        theta = theta - torch.linalg.solve(torch.func.hessian(inner)(theta, phi), slope)
    return theta


def found(inner, phi: Tensor, solve) -> Tensor:  # type: ignore[no-untyped-def]
    theta = lowest(inner, phi).requires_grad_()
    phi = phi.clone().requires_grad_()
    (towards,) = torch.autograd.grad(outer(theta), theta)
    (gradient,), _ = implicit_gradient(inner(theta, phi), [towards], [theta], [phi], solve)
    return gradient


def test_a_series_of_enough_terms_is_the_inverse_and_misses_by_as_much_as_it_says() -> None:
    exact = torch.linalg.solve(P, V)
    shrinks = float((1 - RATE * EIGENVALUES).abs().max())
    for terms in (1, 3, 10, 400):
        solved = neumann(product, V, terms=terms, rate=RATE)
        assert solved.terms == terms
        assert solved.residual == pytest.approx(float((V - P @ solved.x).norm() / V.norm()), abs=1e-12)
        assert float((solved.x - exact).norm()) <= shrinks**terms * float(exact.norm()) * (1 + 1e-9) + 1e-12
    torch.testing.assert_close(solved.x, exact)
    torch.testing.assert_close(neumann(product, V, terms=1, rate=RATE).x, RATE * V)


def test_a_series_that_runs_away_ends_and_says_so() -> None:
    solved = neumann(product, V, terms=400, rate=6 * RATE)
    assert solved.terms < 20
    assert solved.residual > 1


def test_conjugate_gradients_are_exact_after_as_many_terms_as_there_are_directions() -> None:
    solved = conjugate_gradients(product, V, terms=D)
    torch.testing.assert_close(solved.x, torch.linalg.solve(P, V))
    assert solved.residual < 1e-7
    few = conjugate_gradients(product, V, terms=3)
    assert few.residual == pytest.approx(float((V - P @ few.x).norm() / V.norm()), rel=1e-6)
    assert few.residual < neumann(product, V, terms=3, rate=RATE).residual
    assert conjugate_gradients(lambda q: 3 * q, V, terms=9).terms == 1, "one eigenvalue, one term"
    damped = conjugate_gradients(product, V, terms=2 * D, damping=0.7)
    torch.testing.assert_close(damped.x, torch.linalg.solve(P + 0.7 * torch.eye(D, dtype=torch.float64), V))


def test_where_the_matrix_curves_downwards_nothing_is_solved_unless_it_is_damped() -> None:
    sign = torch.ones(D, dtype=torch.float64)
    sign[0] = -0.5
    solved = conjugate_gradients(lambda q: sign * q, torch.eye(D, dtype=torch.float64)[0], terms=9)
    assert (solved.residual, solved.terms) == (1.0, 1)
    assert not solved.x.any()
    assert conjugate_gradients(lambda q: sign * q, V, terms=9, damping=0.6).residual < 1e-7


@pytest.mark.parametrize("solve", [partial(neumann, terms=600, rate=RATE), partial(conjugate_gradients, terms=D)])
def test_the_gradient_through_a_quadratic_is_the_closed_form(solve) -> None:  # type: ignore[no-untyped-def]
    phi = torch.randn(K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(found(quadratic, phi, solve), C.T @ (C @ phi - GOAL), atol=1e-6, rtol=1e-6)


def test_the_gradient_is_that_of_finite_differences_through_the_whole_inner_optimisation() -> None:
    phi = torch.randn(K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradient = found(bumpy, phi, partial(conjugate_gradients, terms=50))
    for i, h in enumerate(1e-5 * torch.eye(K, dtype=torch.float64)):
        rise = outer(lowest(bumpy, phi + h)) - outer(lowest(bumpy, phi - h))
        assert float(gradient[i]) == pytest.approx(float(rise) / 2e-5, rel=1e-5)


def test_one_term_is_the_gradient_of_a_single_unrolled_step() -> None:
    phi = torch.ones(K, dtype=torch.float64, requires_grad=True)
    theta = lowest(bumpy, phi.detach()).requires_grad_()
    moved = theta - RATE * torch.autograd.grad(bumpy(theta, phi), theta, create_graph=True)[0]
    towards = (theta - GOAL).detach()
    (unrolled,) = torch.autograd.grad((moved * towards).sum(), phi)
    (gradient,), _ = implicit_gradient(
        bumpy(theta, phi), [towards], [theta], [phi], partial(neumann, terms=1, rate=RATE)
    )
    torch.testing.assert_close(gradient, unrolled)


def test_several_tensors_are_one_vector_and_what_the_inner_loss_does_not_see_gets_nothing() -> None:
    theta, phi, idle = (
        lowest(bumpy, torch.ones(K, dtype=torch.float64)),
        torch.ones(K, dtype=torch.float64),
        torch.ones(2, dtype=torch.float64),
    )
    parts = [theta[:2].clone().requires_grad_(), theta[2:].reshape(2, 2).clone().requires_grad_()]
    phi.requires_grad_(), idle.requires_grad_()
    inner = bumpy(flat(parts), phi)
    towards = [(p - w) for p, w in zip(parts, (GOAL[:2], GOAL[2:].reshape(2, 2)), strict=True)]
    gradient, _ = implicit_gradient(inner, towards, parts, [phi, idle], partial(conjugate_gradients, terms=D))
    torch.testing.assert_close(gradient[0], found(bumpy, phi.detach(), partial(conjugate_gradients, terms=D)))
    assert not gradient[1].any()
    (along([phi, idle], [gradient[0], gradient[1] + 3])).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(phi.grad, gradient[0])
    assert idle.grad is not None
    assert idle.grad.tolist() == [3, 3]
