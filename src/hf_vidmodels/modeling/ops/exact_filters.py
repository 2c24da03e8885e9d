"""Exact L2-CAF filters for networks that end in average pooling and a linear layer.

There the output is linear in the filter, z = J f + b with J[k, cell] = sum_ch W[k, ch] A[ch, cell] / (h w), so both
objectives are quadratic forms under the constraint |f| = 1 and need no iteration. Own derivation; all in float64.
"""

from dataclasses import dataclass

import torch

# Eigenvalues and components below this share of the largest count as equal and as zero.
RELATIVE_ZERO = 1e-12
# Halvings of the logarithm of an interval of at most 700: enough for the last bit of a double.
BISECTIONS = 64


@dataclass(frozen=True)
class QuadraticObjective:
    """L(f) = f' H f - 2 p' f + c of P problems with n cells.

    Attributes:
        hessian: (P, n, n) symmetric H, or `None` for zero.
        slope: (P, n) p.
        constant: (P,) c.
    """

    hessian: torch.Tensor | None
    slope: torch.Tensor
    constant: torch.Tensor

    def value(self, filters: torch.Tensor) -> torch.Tensor:
        """Give (P,) values at (P, n) filters; differentiable."""
        values = self.constant - 2 * (self.slope * filters).sum(-1)
        if self.hessian is not None:
            values = values + (torch.bmm(self.hessian, filters[..., None])[..., 0] * filters).sum(-1)
        return values

    def restrict(self, problems: torch.Tensor) -> "QuadraticObjective":
        """Keep the problems with the given indices."""
        hessian = None if self.hessian is None else self.hessian[problems]
        return QuadraticObjective(hessian, self.slope[problems], self.constant[problems])

    def minimize(self) -> torch.Tensor:
        """Give the (P, n) unit vectors where the objective is smallest."""
        return minimize_linear(self.slope) if self.hessian is None else minimize_on_sphere(self.hessian, self.slope)


def linear_objective(
    feature_maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, output_weights: torch.Tensor
) -> QuadraticObjective:
    """Make the objective sum_k u_k z_k(f), of which the class-specific ones are cases.

    Args:
        feature_maps: (B, C, h, w).
        weight: (K, C) of the linear layer.
        bias: (K,).
        output_weights: (B, Q, K) u of every problem.

    Returns:
        B * Q problems, those of an image side by side.
    """
    maps = feature_maps.flatten(2)
    # One row of the layer per problem instead of all K, and the product with the large map stays in its precision.
    rows = output_weights.to(maps.dtype) @ weight.to(maps.dtype)
    gradient = torch.bmm(rows, maps).double() / maps.shape[-1]
    constant = (output_weights.double() * bias.double()).sum(-1)
    return QuadraticObjective(None, -gradient.flatten(0, 1) / 2, constant.flatten())


def preserving_objective(feature_maps: torch.Tensor, weight: torch.Tensor) -> QuadraticObjective:
    """Make the class-oblivious objective: mean squared change of the K outputs, one problem for each of B images."""
    maps = feature_maps.flatten(2)
    num_outputs, num_cells = len(weight), maps.shape[-1]
    jacobian = torch.matmul(weight.to(maps.dtype), maps).double() / num_cells
    hessian = jacobian.transpose(1, 2) @ jacobian / num_outputs
    unfiltered = jacobian.sum(-1)
    slope = (jacobian.transpose(1, 2) @ unfiltered[..., None])[..., 0] / num_outputs
    return QuadraticObjective(hessian, slope, unfiltered.square().mean(-1))


def minimize_linear(slope: torch.Tensor) -> torch.Tensor:
    """Minimise -2 p' f over unit vectors: f = p / |p|, and the uniform vector where p is zero."""
    norms = slope.norm(dim=-1, keepdim=True)
    uniform = torch.full_like(slope, slope.shape[-1] ** -0.5)
    return torch.where(norms > 0, slope / norms.clamp_min(torch.finfo(slope.dtype).tiny), uniform)


def minimize_on_sphere(hessian: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Minimise f' H f - 2 p' f over unit vectors, the trust-region equation with its hard case.

    In the eigenbasis of H the solution is q_i / (w_i - w_min + s) with the s > 0 that gives it unit norm. In the hard
    case (q is zero where w is smallest and the rest stays shorter than 1) s is 0 and the missing length goes along an
    eigenvector of w_min, on the side of the uniform filter.

    Args:
        hessian: (P, n, n) symmetric positive semi-definite H.
        slope: (P, n) p.

    Returns:
        (P, n) unit vectors.
    """
    values, vectors = torch.linalg.eigh(hessian)
    gaps = values - values[:, :1]
    slope_in_basis = (vectors.transpose(1, 2) @ slope[..., None])[..., 0]
    lowest = gaps <= RELATIVE_ZERO * values[:, -1:].abs().clamp_min(torch.finfo(values.dtype).tiny)
    noise = RELATIVE_ZERO * slope_in_basis.norm(dim=-1, keepdim=True)
    slope_in_basis = torch.where(lowest & (slope_in_basis.abs() <= noise), 0.0, slope_in_basis)
    gaps = torch.where(lowest, 0.0, gaps)

    at_zero = torch.where(lowest, 0.0, slope_in_basis / torch.where(lowest, 1.0, gaps))
    missing = 1 - at_zero.square().sum(-1)
    along_lowest = torch.where(lowest, slope_in_basis, 0.0).norm(dim=-1)
    is_hard = (along_lowest == 0) & (missing >= 0)

    shift = _root_of_unit_norm(slope_in_basis, gaps, along_lowest)
    regular = slope_in_basis / (gaps + shift[:, None])
    filled = at_zero + missing.clamp_min(0).sqrt()[:, None] * _lowest_direction(vectors, lowest)
    in_basis = torch.where(is_hard[:, None], filled, regular)
    filters = (vectors @ in_basis[..., None])[..., 0]
    return filters / filters.norm(dim=-1, keepdim=True)


def _root_of_unit_norm(slope: torch.Tensor, gaps: torch.Tensor, along_lowest: torch.Tensor) -> torch.Tensor:
    """Bisect s in sum slope^2 / (gaps + s)^2 = 1, which falls in s and has its root between these bounds."""
    tiny = torch.finfo(slope.dtype).tiny ** 0.5
    low, high = along_lowest.clamp_min(tiny), slope.norm(dim=-1).clamp_min(2 * tiny)
    for _ in range(BISECTIONS):
        # The geometric mean finds roots of any size; the bounds may be many orders of magnitude apart.
        middle = (low * high).sqrt()
        is_long = (slope / (gaps + middle[:, None])).square().sum(-1) > 1
        low, high = torch.where(is_long, middle, low), torch.where(is_long, high, middle)
    return (low * high).sqrt()


def _lowest_direction(vectors: torch.Tensor, lowest: torch.Tensor) -> torch.Tensor:
    """Give, in the eigenbasis, the unit vector of the lowest eigenspace that is nearest to the uniform filter."""
    uniform = torch.where(lowest, vectors.sum(1), 0.0)
    length = uniform.norm(dim=-1, keepdim=True)
    first = torch.zeros_like(uniform)
    first[:, 0] = 1.0
    return torch.where(length > RELATIVE_ZERO, uniform / length.clamp_min(RELATIVE_ZERO), first)
