"""Every loss and density against an independent reference in NumPy (float64), written from the papers."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from headstart.losses import conservative, flow, policy, value
from headstart.nets import distributions

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
Q = RNG.normal(size=(2, 4, 5)) * 2.0  # critics, rows, actions


def close(found, expected, rtol=1e-5):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=1e-5)


def floats(array):
    return jnp.asarray(array, jnp.float32)


# -- values -----------------------------------------------------------------------------------------------------------


def test_expectile_weighs_positive_and_negative_differences():
    differences = [-2.0, -0.5, 0.0, 0.5, 3.0]
    expected = [(0.9 if u > 0 else 0.1) * u * u for u in differences]
    close(value.expectile(floats(differences), 0.9), expected)


def test_the_minimiser_of_the_expectile_loss_is_the_expectile():
    """For two values with equal odds the tau-expectile is (1 - tau) * low + tau * high."""
    grid = jnp.linspace(0.0, 10.0, 1001)
    loss = value.expectile(floats([0.0, 10.0])[:, None] - grid, 0.8).mean(0)
    assert abs(float(grid[loss.argmin()]) - 8.0) < 0.02


def test_squared_has_no_half():
    close(value.squared(floats([1.0, -2.0]), floats([4.0, -2.5])), [9.0, 0.25])


def test_bootstrap_adds_the_discounted_value_and_takes_no_gradient():
    reward, discount, following = floats([-1.0, 0.0, 2.0]), floats([0.5, 0.0, 0.9**3]), floats([8.0, 100.0, 1.0])
    close(value.bootstrap(reward, discount, following), [3.0, 0.0, 2.0 + 0.9**3])
    grads = jax.grad(lambda *args: value.bootstrap(*args).sum(), argnums=(0, 1, 2))(reward, discount, following)
    assert all((g == 0).all() for g in grads)


# -- policies ---------------------------------------------------------------------------------------------------------


def test_soft_policy_is_entropy_against_value():
    log_prob, q = floats([-1.0, 2.0]), floats([5.0, -3.0])
    close(policy.soft_policy(log_prob, q, 0.1), [-5.1, 3.2])
    # The temperature has its own loss; none of this one's gradient reaches it.
    assert float(jax.grad(lambda t: policy.soft_policy(log_prob, q, t).sum())(jnp.float32(0.1))) == 0.0
    by_log_prob, by_q = jax.grad(lambda a, b: policy.soft_policy(a, b, 0.1).sum(), argnums=(0, 1))(log_prob, q)
    close(by_log_prob, [0.1, 0.1])
    close(by_q, [-1.0, -1.0])


def test_temperature_falls_where_the_entropy_is_above_its_target():
    log_prob = floats([-3.0, -5.0])  # entropy 4, target 1
    close(policy.temperature(jnp.float32(0.7), log_prob, 1.0), [0.7 * 2.0, 0.7 * 4.0])
    by_temperature, by_log_prob = jax.grad(
        lambda t, p: policy.temperature(t, p, 1.0).mean(), argnums=(0, 1)
    )(jnp.float32(0.7), log_prob)  # fmt: skip
    close(by_temperature, 3.0)  # positive: descent lowers the temperature
    assert (by_log_prob == 0).all()


def test_advantage_weighted_cuts_the_weight_and_never_overflows():
    log_prob, advantage = floats([-1.0, -2.0, -3.0, -4.0]), floats([0.0, 0.5, -2.0, 1e6])
    close(
        policy.advantage_weighted(log_prob, advantage, 3.0, 50.0),
        [1.0, 2.0 * np.exp(1.5), 3.0 * np.exp(-6.0), 4.0 * 50.0],
    )
    by_log_prob, by_advantage = jax.grad(
        lambda p, a: policy.advantage_weighted(p, a, 3.0, 50.0).sum(), argnums=(0, 1)
    )(log_prob, advantage)  # fmt: skip
    close(by_log_prob, [-1.0, -np.exp(1.5), -np.exp(-6.0), -50.0])
    assert (by_advantage == 0).all()


def test_behaviour_distance_sums_over_dimensions():
    close(policy.behaviour_distance(floats([[1.0, 0.0], [0.5, 0.5]]), floats([[-1.0, 1.0], [0.5, 0.0]])), [5.0, 0.25])


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: value.squared(a, b),
        lambda a, b: value.bootstrap(a, b, a),
        lambda a, b: value.bootstrap(a, a, b),
        lambda a, b: policy.soft_policy(a, b, 1.0),
        lambda a, b: policy.advantage_weighted(a, b, 1.0),
        lambda a, b: policy.behaviour_distance(a, b),
    ],
)
def test_arrays_that_would_broadcast_silently_are_refused(loss):
    with pytest.raises(ValueError, match=r"losses take arrays of one rank, found ranks \[.*1.*2.*\]|\[.*2.*1.*\]"):
        loss(jnp.zeros(3), jnp.zeros((3, 1)))


def test_normalised_q_has_mean_size_one_at_any_scale():
    q = floats([3.0, -1.0, 2.0])
    close(policy.normalised(q), [1.5, -0.5, 1.0])
    close(policy.normalised(1000.0 * q), policy.normalised(q))
    # The scale is a constant to the gradient.
    close(jax.jacobian(policy.normalised)(q), np.eye(3) / 2.0)
    assert np.isfinite(policy.normalised(floats([0.0, 0.0]))).all()


# -- flows ------------------------------------------------------------------------------------------------------------


def test_a_flow_is_matched_to_the_velocity_of_straight_lines():
    noise, action, time = RNG.normal(size=(4, 2)), RNG.uniform(-1, 1, (4, 2)), RNG.uniform(size=(4, 1))
    points = flow.between(*map(floats, (noise, action, time)))
    close(points, [(1 - t) * n + t * a for n, a, t in zip(noise, action, time, strict=True)])
    # The velocity is the derivative of the point along time, by finite differences.
    later = flow.between(*map(floats, (noise, action, time + 0.5)))
    velocity = RNG.normal(size=(4, 2))
    close(flow.matching(*map(floats, (velocity, noise, action))), (velocity - np.asarray(later - points) / 0.5) ** 2)


def test_distillation_moves_the_student_only():
    student, teacher = floats([[0.5, -2.0]]), floats([[1.0, -1.0]])
    close(flow.distillation(student, teacher), [[0.25, 1.0]])
    by_student, by_teacher = jax.grad(lambda *pair: flow.distillation(*pair).sum(), argnums=(0, 1))(student, teacher)
    close(by_student, [[-1.0, -2.0]])
    assert (by_teacher == 0).all()


# -- the conservative term --------------------------------------------------------------------------------------------


def simplex_maximum(q, penalty_weight):
    """max over the simplex of mu.q - w/2 |mu - 1/N|^2 and where it is, by trying every support.

    On a given support the problem has equality constraints only, and its optimality conditions are linear.
    """
    n = len(q)
    best, best_mu = -np.inf, None
    for size in range(1, n + 1):
        for support in itertools.combinations(range(n), size):
            index = list(support)
            matrix = np.zeros((size + 1, size + 1))
            matrix[:size, :size] = penalty_weight * np.eye(size)
            matrix[:size, size] = matrix[size, :size] = 1.0
            solution = np.linalg.solve(matrix, np.append(q[index] + penalty_weight / n, 1.0))
            mu = np.zeros(n)
            mu[index] = solution[:size]
            objective = mu @ q - penalty_weight / 2 * np.square(mu - 1.0 / n).sum()
            if mu.min() >= -1e-12 and objective > best:
                best, best_mu = objective, mu
    return best, best_mu


def test_chi_square_is_the_maximum_over_the_simplex():
    expected = np.array([[simplex_maximum(row, 5.0)[0] for row in block] for block in Q])
    close(conservative.chi_square(floats(Q)), expected)
    # Some of these optima lie on the border of the simplex, where mean + variance / 2 is not the answer.
    unconstrained = Q.mean(-1) + Q.var(-1) / 2
    assert (unconstrained > expected + 0.1).any()


def test_chi_square_without_active_bounds_is_mean_plus_half_the_variance():
    q = RNG.uniform(-0.5, 0.5, (3, 7))
    close(conservative.chi_square(floats(q)), q.mean(-1) + q.var(-1) / 2)


def test_the_gradient_of_chi_square_is_the_maximising_distribution():
    row = Q[0, 1]
    mu_of = jax.jit(jax.grad(conservative.chi_square))
    close(mu_of(floats(row)), simplex_maximum(row, 5.0)[1])
    # Equal values: any tie of the sort must give the uniform distribution.
    close(mu_of(jnp.full(5, 3.0)), np.full(5, 0.2))


def test_kl_is_the_maximum_over_the_simplex():
    """E_mu[Q] - KL(mu, uniform) is largest at the softmax and no random mu does better."""
    best = np.exp(Q) / np.exp(Q).sum(-1, keepdims=True)

    def objective(mu):
        return (mu * Q).sum(-1) - (mu * np.log(mu * Q.shape[-1])).sum(-1)

    found = conservative.kl(floats(Q))
    close(found, objective(best))
    for mu in RNG.dirichlet(np.ones(5), size=(50, 2, 4)):
        assert (objective(mu) < np.asarray(found)).all()
    close(jax.grad(lambda q: conservative.kl(q).sum())(floats(Q)), best)
    close(conservative.kl(jnp.full((2, 6), -4.0)), [-4.0, -4.0])


def test_entropy_is_a_logsumexp_and_its_gradient_a_softmax():
    close(conservative.entropy(floats(Q)), np.log(np.exp(Q).sum(-1)))
    log_density = RNG.normal(size=(4, 5))
    weighted = np.exp(Q) / np.exp(log_density)
    close(conservative.entropy(floats(Q), floats(log_density)), np.log(weighted.sum(-1)))
    found = jax.grad(lambda q: conservative.entropy(q, floats(log_density)).sum())(floats(Q))
    close(found, weighted / weighted.sum(-1, keepdims=True))
    assert np.isfinite(conservative.entropy(floats([1e4, -1e4]))).all()


def test_importance_weights_estimate_the_integral_over_all_actions():
    """log (1/N) sum exp(Q - log density) -> log of the integral of exp(Q(a)) da, whatever the proposals."""
    q_of = lambda a: 3.0 * np.sin(2.0 * a) - a  # noqa: E731
    truth = np.log(integrate.quad(lambda a: np.exp(q_of(a)), -1.0, 1.0)[0])
    rng = np.random.default_rng(1)
    uniform = rng.uniform(-1.0, 1.0, 20_000)
    skewed = rng.beta(2.0, 1.5, 20_000) * 2.0 - 1.0
    densities = [np.full(20_000, 0.5), stats.beta.pdf((skewed + 1.0) / 2.0, 2.0, 1.5) / 2.0]
    for actions, density in zip([uniform, skewed], densities, strict=True):
        estimate = conservative.entropy(floats(q_of(actions)), floats(np.log(density))) - np.log(20_000)
        assert abs(float(estimate) - truth) < 0.03


def test_calibration_bounds_q_by_the_reference_of_its_row():
    reference = np.array([0.0, 100.0, -100.0, 0.5])
    found = conservative.calibrated(floats(Q), floats(reference))
    expected = np.array([[[max(q, reference[b]) for q in Q[e, b]] for b in range(4)] for e in range(2)])
    close(found, expected)


def test_a_gap_by_hand():
    """Q(1.0, 3.0) sampled, Q 2.0 at the data's action: log(e + e^3 + e^2) - 2 = 1.4076."""
    gap = conservative.entropy(floats([[1.0, 3.0, 2.0]])) - 2.0
    close(gap, [1.407606], rtol=1e-6)


def test_a_bounded_gap_by_hand():
    """With the return 2.5 the first becomes 2.5: log(e^2.5 + e^3) - 2 = 1.4741, and only the second is pushed down."""

    def gap(q):
        return (conservative.entropy(conservative.calibrated(q, floats([2.5]))) - 2.0)[0]

    q = floats([[1.0, 3.0]])
    close(gap(q), 1.474077, rtol=1e-6)
    pushed = np.exp(3.0) / (np.exp(2.5) + np.exp(3.0))
    close(jax.grad(gap)(q), [[0.0, pushed]])
    # Where all lie below the return nothing is pushed down at all.
    np.testing.assert_array_equal(jax.grad(gap)(floats([[1.0, 2.0]])), [[0.0, 0.0]])


# -- densities --------------------------------------------------------------------------------------------------------


def test_normal_density_is_scipys():
    x, mean, log_std = RNG.normal(size=(3, 6, 4))
    expected = stats.norm.logpdf(x, mean, np.exp(log_std)).sum(-1)
    close(distributions.normal_log_prob(floats(x), floats(mean), floats(log_std)), expected)


def tanh_normal_cdf(action, mean, std):
    return stats.norm.cdf((np.arctanh(action) - mean) / std)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.2, 0.3), (-0.4, 2.0)])
def test_tanh_normal_density_is_the_derivative_of_its_distribution(mean, std):
    at = np.linspace(-0.97, 0.97, 41)
    h = 1e-6
    expected = np.log((tanh_normal_cdf(at + h, mean, std) - tanh_normal_cdf(at - h, mean, std)) / (2 * h))
    found = distributions.tanh_normal_log_prob(floats(at)[:, None], floats([mean]), floats([np.log(std)]))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_tanh_normal_density_sums_to_one_over_the_square():
    grid = (np.arange(200) + 0.5) / 100.0 - 1.0
    actions = np.stack(np.meshgrid(grid, grid), -1)
    density = np.exp(distributions.tanh_normal_log_prob(floats(actions), floats([0.3, -0.5]), floats([-0.5, -1.0])))
    assert abs(density.mean() * 4.0 - 1.0) < 1e-3


def test_tanh_normal_samples_follow_the_distribution_and_know_their_density():
    mean, log_std = floats([0.4]), floats([-0.2])
    actions, log_density = distributions.tanh_normal_sample(mean, log_std, jax.random.key(0), (4000,))
    assert actions.shape == (4000, 1)
    assert log_density.shape == (4000,)
    fit = stats.kstest(np.asarray(actions[:, 0], np.float64), lambda a: tanh_normal_cdf(a, 0.4, np.exp(-0.2)))
    assert fit.pvalue > 0.01
    inside = np.abs(actions[:, 0]) < 0.99
    again = distributions.tanh_normal_log_prob(actions, mean, log_std)
    np.testing.assert_allclose(log_density[inside], again[inside], rtol=1e-3, atol=1e-3)


def test_samples_of_many_actions_a_state_broadcast_their_parameters():
    mean, log_std = floats(RNG.normal(size=(3, 1, 2))), floats(np.full((3, 1, 2), -8.0))
    actions, log_density = distributions.tanh_normal_sample(mean, log_std, jax.random.key(0), (3, 5))
    assert actions.shape == (3, 5, 2)
    assert log_density.shape == (3, 5)
    np.testing.assert_allclose(actions, np.broadcast_to(np.tanh(mean), (3, 5, 2)), atol=3e-3)


def test_far_out_means_give_finite_densities_and_gradients():
    def loss(mean):
        action, log_density = distributions.tanh_normal_sample(mean, jnp.zeros(1), jax.random.key(0), (1,))
        return log_density.sum() + distributions.tanh_normal_log_prob(action, mean, jnp.zeros(1)).sum()

    of = jax.jit(jax.value_and_grad(loss))
    for mean in (-50.0, 50.0):
        found, grad = of(floats([mean]))
        assert np.isfinite(found)
        assert np.isfinite(grad).all()
