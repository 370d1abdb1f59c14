"""The conservative term of CQL(R) (Kumar et al. 2020, eq. 3) and its calibration (Nakamoto et al. 2023, eq. 5.1).

For a regulariser R the term is max over mu of E_mu[Q(s, a)] + R(mu), less Q at the data's actions. With sampled
actions the inner maximum has a closed form; each function here gives it, elementwise over the leading axes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def calibrated(q: jax.Array, reference: jax.Array) -> jax.Array:
    """max(Q(s, a), V_ref(s)): where Q lies below the reference value it is not pushed down any further (Cal-QL).

    q: (..., B, N). reference: (B,). The gradient is zero where the reference is the larger.
    """
    return jnp.maximum(q, reference[..., None])


def entropy(q: jax.Array, log_density: jax.Array | None = None) -> jax.Array:
    """log sum_i exp(Q_i - log density_i), R = entropy: CQL(H) (CQL, eq. 4), up to the constant log N.

    q: (..., N). log_density: of the proposals that drew the actions, for importance weights; None: none.
    """
    return jax.nn.logsumexp(q if log_density is None else q - log_density, axis=-1)


def kl(q: jax.Array) -> jax.Array:
    """log mean_i exp(Q_i) for actions drawn from the prior rho, R = -KL(mu, rho): CQL(rho).

    Its gradient is that of Q under the prior reweighted by exp(Q) / Z (CQL, appendix A).
    """
    return jax.nn.logsumexp(q, axis=-1) - jnp.log(q.shape[-1])


def chi_square(q: jax.Array) -> jax.Array:
    """max over mu of E_mu[Q] - chi2(mu, rho) / 2 for N actions drawn from the prior rho.

    chi2(mu, rho) = N sum_i (mu_i - 1/N)**2. Where every weight stays positive this is mean + variance / 2 of Q, the
    variance regulariser of the CQL paper; the exact maximum over the simplex (a sparsemax) used here never
    gives an action a negative weight.
    """
    count = q.shape[-1]
    # mu_i = max(0, (Q_i - threshold) / N): find the support by sorting.
    ordered = -jnp.sort(-jax.lax.stop_gradient(q), axis=-1)
    sums = jnp.cumsum(ordered, axis=-1)
    sizes = jnp.arange(1, count + 1)
    thresholds = (sums - count) / sizes
    support = (ordered > thresholds).sum(-1, keepdims=True)
    threshold = jnp.take_along_axis(thresholds, support - 1, axis=-1)
    mu = jnp.maximum(0.0, (jax.lax.stop_gradient(q) - threshold) / count)
    return (mu * q).sum(-1) - 0.5 * count * jnp.square(mu - 1.0 / count).sum(-1)
