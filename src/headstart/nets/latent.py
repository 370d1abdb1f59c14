"""Components of methods that find actions in observations alone."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from headstart.nets.layers import MLP

SMALLEST = math.exp(-5.0)
"""Standard deviation below which an error of the forward model counts as noise."""


class ForwardModel(eqx.Module):
    """p(s' | s, z): normal about s + a perceptron of (s, z), each feature with a standard deviation of its own."""

    trunk: MLP

    def __init__(self, features: int, latent: int, widths: tuple[int, ...], key: jax.Array, **options):
        """features, latent: sizes of s and z. options go to `MLP`."""
        self.trunk = MLP(features + latent, widths, int(features), key, output_gain=0.01, **options)

    def __call__(self, features: jax.Array, latent: jax.Array) -> jax.Array:
        """(B, f) the features expected after z (B, k) at features (B, f)."""
        return features + self.trunk(jnp.concatenate([features, latent], axis=-1))

    def log_likelihood(self, features: jax.Array, latent: jax.Array, following: jax.Array) -> jax.Array:
        """() mean log density of the features that followed, at the deviations that are likeliest for these rows
        (Rybkin et al. 2021, sigma-VAE): features of any scale count alike, and no deviation has to be learned."""
        variance = jnp.square(following - self(features, latent)).mean(0) + SMALLEST**2
        return -0.5 * (jnp.log(2.0 * math.pi * variance) + 1.0).sum()
