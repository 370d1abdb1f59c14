"""Contrastive reinforcement learning."""

from __future__ import annotations

import dataclasses

from headstart.algorithm import GoalPart
from headstart.algos.goals import climb_and_clone, goal_view, sizes, sound_goals, views_of
from headstart.algos.require import continuous_actions
from headstart.algos.shared import advance, fresh_state, step_all
from headstart.lazy import jax, jnp, losses, nets, optim


@dataclasses.dataclass(frozen=True)
class CRL:
    """Contrastive reinforcement learning (Eysenbach et al. 2022): a critic that tells the goals ahead from other rows'.

    f(s, a, g) = phi(s, a) . psi(g) / sqrt(d) learns log p(g ahead | s, a) / p(g) of the data's policy, by binary
    classification, without rewards or backups: Monte-Carlo, so it does not stitch. The actor climbs f near the data's
    actions. Defaults are OGBench's.
    """

    alpha: float = 0.1
    """Weight of the likelihood of the data's actions against normalised f in the actor's loss."""
    latent_size: int = 512
    """Dimensions d of the representations."""
    actor_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the actor."""
    critic_widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of both representations of each critic."""
    layer_norm: bool = True
    """LayerNorm in the representations."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on sampled actions."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor."""
    critic_lr: float = 3e-4
    """Adam learning rate of the two critics."""
    discount: float = 0.99
    """gamma per step: goals ahead are Geometric(1 - gamma) steps ahead (giant mazes: 0.995)."""
    batch_size: int = 1024
    """Rows of a batch; each row's goal is tried on all the others."""
    value_goals: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """Shares of the critic's goals that are the row's own observation, a later one of its episode, any of the data."""
    value_geometric: bool = True
    """Later ones Geometric(1 - discount) steps ahead, else uniformly up to the episode's end."""
    actor_goals: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """The same shares of the actor's goals."""
    actor_geometric: bool = False
    """The same law for the actor's goals."""
    commanded: float = 0.5
    """Online: share of the rows whose actor learns on the goal that the environment had set. The critic's are ahead."""
    goal_array: str = ""
    """Name of the array of observations that a goal is, where they have names."""
    goal_entries: tuple[int, ...] = ()
    """Entries of that array; none: all."""

    def __post_init__(self):
        sound_goals(self)

    def view(self):
        # A goal that was set and missed is not ahead of anything.
        return goal_view(self, values_commanded=False, goal=GoalPart(self.goal_array, self.goal_entries))

    def init(self, key, spec):
        continuous_actions("crl", spec)
        state_size, goal_size = sizes("crl", spec)
        actor_key, critic_key = jax.random.split(key)

        def critic(key):
            inputs = state_size + spec.action.size
            return nets.Bilinear(inputs, goal_size, self.critic_widths, self.latent_size, key, self.layer_norm)

        components = {
            "actor": nets.goal_actor(
                state_size + goal_size, spec.action, self.actor_widths, self.exploration_noise, actor_key
            ),
            "critic": nets.Ensemble.of(critic, 2, critic_key),
        }
        return fresh_state(components, self._optimizers(), targets=())

    def update(self, state, batch, key):
        here, _, goal, actor_goal = views_of(batch)
        critic = state.nets["critic"]

        def critic_loss(critic):
            phi, psi = jnp.moveaxis(critic(jnp.concatenate([here, batch.action], axis=-1), goal), 1, 0)
            logits = jnp.einsum("eid,ejd->eij", phi, psi)
            loss = losses.goals.binary_nce(logits).mean()
            paired = jnp.diagonal(logits, axis1=1, axis2=2)
            # Whether a row's own goal scores highest of all.
            found = (logits.argmax(-1) == jnp.arange(logits.shape[-1])).mean()
            return loss, {"critic_loss": loss, "q_data": paired.mean(), "logits": logits.mean(), "retrieval": found}

        def q_of(action):
            phi, psi = jnp.moveaxis(critic(jnp.concatenate([here, action], axis=-1), actor_goal), 1, 0)
            return (phi * psi).sum(-1).min(0)

        critic_grads, metrics = jax.grad(critic_loss, has_aux=True)(critic)
        actor_grads, actor_metrics = jax.grad(climb_and_clone, has_aux=True)(
            state.nets["actor"], jnp.concatenate([here, actor_goal], axis=-1), batch.action, q_of, self.alpha
        )
        new = step_all(self._optimizers(), {"actor": actor_grads, "critic": critic_grads}, state)
        return advance(state, *new, tau=0.0), metrics | actor_metrics

    def policy(self, state):
        return nets.Policy(state.nets["actor"])

    def goal_value(self, state, observation, goal):
        # log p(g ahead | s, a) / p(g) of the policy's action: a log ratio, not steps.
        here, goal = nets.flatten(observation), nets.flatten(goal)
        action = state.nets["actor"].mode(jnp.concatenate([here, goal], axis=-1))
        phi, psi = jnp.moveaxis(state.nets["critic"](jnp.concatenate([here, action], axis=-1), goal), 1, 0)
        return (phi * psi).sum(-1).min(0)

    def _optimizers(self):
        return {"actor": optim.adam(self.actor_lr), "critic": optim.adam(self.critic_lr)}
