"""Hidden layers of one perceptron as the start of another."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from headstart.nets.layers import MLP


def is_perceptron(part: Any) -> bool:
    return isinstance(part, MLP)


def perceptrons(net: Any) -> list[MLP]:
    """Those of a component, in the order of its tree."""
    return list(filter(is_perceptron, jax.tree.leaves(net, is_leaf=is_perceptron)))


def started(net: Any, old: Any, observation: int, members: int) -> tuple[int, Any]:
    """A component whose first perceptron begins with the hidden layers of another's first one, as far as they fit:
    (number of layers taken, the component), or (0, why there are none).

    Leaves have a leading axis of members, of `old` perhaps one for all. observation: the number of its features, which
    come first among the inputs of both; rows of the first layer for other inputs stay as they were.
    """
    here, there = perceptrons(net), perceptrons(old)
    if not here or not there:
        return 0, "there is no perceptron " + ("there" if here else "here")
    new, given = here[0], there[0]
    if new.front is not None or given.front is not None:
        return 0, "images are looked at, whose encoders do not go along"
    if _style(new) != _style(given):
        how = "fields activation and layer_norm, to be pretrained alike"
        return 0, f"layers are {_style(new)} here, {_style(given)} there ({how})"
    if not new.hidden or not given.hidden:
        return 0, "there are no hidden layers"
    if given.inputs < observation:
        return 0, f"there it looks at {given.inputs} of the observation's {observation} numbers"
    given = _spread(given, new, members)
    hidden, norms = list(new.hidden), list(new.norms)
    count = 0
    for layer, donor in zip(new.hidden, given.hidden, strict=False):
        rows = observation if count == 0 else layer.weight.shape[-2]
        weight = donor.weight[..., : donor.weight.shape[-2] if count else rows, :]
        if weight.shape[-2:] != (rows, layer.weight.shape[-1]):
            break
        weight = jnp.concatenate([weight, layer.weight[..., rows:, :]], axis=-2)
        hidden[count] = eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, donor.bias))
        if norms:
            norms[count] = given.norms[count]
        count += 1
    if not count:
        return 0, "the hidden layers have other widths"
    made = eqx.tree_at(lambda part: (part.hidden, part.norms), new, (tuple(hidden), tuple(norms)))
    return count, jax.tree.map(lambda part: made if part is new else part, net, is_leaf=is_perceptron)


def _spread(given: MLP, like: MLP, members: int) -> MLP:
    """A perceptron with the leading axes of another: of members, which may be one for all, and of an ensemble, whose
    parts take those of the given one in turn."""
    ensemble = like.hidden[0].bias.shape[1:-1]
    theirs = given.hidden[0].bias.shape[1:-1]

    def spread(leaf: np.ndarray) -> jax.Array:
        leaf = np.broadcast_to(leaf, (members, *leaf.shape[1:]))
        if theirs:
            leaf = leaf[:, np.arange(*ensemble) % theirs[0]] if ensemble else leaf[:, 0]
        elif ensemble:
            leaf = np.broadcast_to(leaf[:, None], (members, *ensemble, *leaf.shape[1:]))
        return jnp.array(leaf)

    return jax.tree.map(spread, given)


def _style(part: MLP) -> str:
    if not part.norms:
        return part.activation
    return f"{part.activation}, LayerNorm" if part.norm_last else f"LayerNorm, {part.activation}"
