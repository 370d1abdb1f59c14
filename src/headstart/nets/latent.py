"""Components of methods that find actions in observations alone."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.distributions import normal_log_prob
from headstart.nets.layers import MLP

SMALLEST = -5.0
"""Log of the standard deviation below which an error of the forward model counts as noise."""


class ForwardModel(eqx.Module):
    """p(s' | s, z): normal about s + a perceptron of (s, z), each feature with a standard deviation of its own.

    The deviations are learned too, so that features of any scale count alike (Rybkin et al. 2021).
    """

    trunk: MLP
    log_std: jax.Array

    def __init__(self, features: int, latent: int, widths: tuple[int, ...], key: jax.Array, **options):
        """features, latent: sizes of s and z. options go to `MLP`."""
        self.trunk = MLP(features + latent, widths, int(features), key, output_gain=0.01, **options)
        self.log_std = jnp.zeros(int(features))

    def mean(self, features: jax.Array, latent: jax.Array) -> jax.Array:
        """(B, f) the features expected after z (B, k) at features (B, f)."""
        return features + self.trunk(jnp.concatenate([features, latent], axis=-1))

    def log_prob(self, features: jax.Array, latent: jax.Array, following: jax.Array) -> jax.Array:
        """(B,) log density of the features that followed."""
        return normal_log_prob(following, self.mean(features, latent), jnp.clip(self.log_std, SMALLEST, 2.0))
