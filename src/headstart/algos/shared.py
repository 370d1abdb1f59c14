"""What every algorithm does alike: fresh states, Bellman errors, steps of optimisers and of targets."""

from __future__ import annotations

import dataclasses

from headstart.lazy import jax, jnp, losses, optim, state


def fresh_state(components: dict, optimizers: dict, targets: tuple[str, ...]):
    """The state before the first update. components: name -> net. optimizers: of those that are trained. targets: names
    of the components that have one."""
    return state.State(
        nets=components,
        # Copies of their own, since the state is donated to the compiled update.
        targets={name: jax.tree.map(jnp.copy, components[name]) for name in targets},
        opt_state={name: optimizer.init(components[name]) for name, optimizer in optimizers.items()},
        step=jnp.zeros((), jnp.int32),
    )


def bellman_error(q, td_target, weight=1.0):
    """() mean squared error of critics (E, B) against one target (B,), summed over the ensemble.

    weight: (B,) of each row.
    """
    return (weight * losses.value.squared(q, jnp.broadcast_to(td_target, q.shape))).mean(1).sum()


def step_all(optimizers: dict, grads: dict, old) -> tuple[dict, dict]:
    """One optimiser step of every component in `grads`: ({component: net}, {component: optimiser state})."""
    stepped = {
        name: optim.step(optimizers[name], grad, old.opt_state[name], old.nets[name]) for name, grad in grads.items()
    }
    return {name: pair[0] for name, pair in stepped.items()}, {name: pair[1] for name, pair in stepped.items()}


def advance(old, new_nets: dict, new_opt_state: dict, tau: float):
    """The state after an update: components replaced, targets moved by tau, one step more."""
    components = old.nets | new_nets
    targets = {name: optim.polyak(target, components[name], tau) for name, target in old.targets.items()}
    return dataclasses.replace(
        old, nets=components, targets=targets, opt_state=old.opt_state | new_opt_state, step=old.step + 1
    )


def flow_error(flow, features, action, key):
    """(B, d) squared errors of a flow's velocity at random points of the lines from noise to the data's actions."""
    noise_key, time_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, action.shape)
    time = jax.random.uniform(time_key, (len(action), 1))
    velocity = flow.velocity(features, losses.flow.between(noise, action, time), time)
    return losses.flow.matching(velocity, noise, action)
