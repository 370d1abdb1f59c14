"""Networks: layers, encoders, heads and distributions; the only place that builds on Equinox."""

from headstart.nets.distributions import tanh_normal_log_prob, tanh_normal_sample
from headstart.nets.encoders import flatten
from headstart.nets.features import FEATURES, Features, SeeingPolicy, seeing
from headstart.nets.flow import BestOfActor, FlowActor, OneStepActor, flow_actor, one_step_actor, perceptron
from headstart.nets.goals import (
    OGBENCH,
    Bilinear,
    GoalValue,
    HierarchicalPolicy,
    MultilinearValue,
    Quasimetric,
    UnitGaussianActor,
    goal_actor,
    to_sphere,
)
from headstart.nets.heads import (
    CategoricalActor,
    ChunkPolicy,
    Critic,
    DeterministicActor,
    DiscreteCritic,
    Ensemble,
    GaussianActor,
    GreedyActor,
    Policy,
    Scalar,
    TanhGaussianActor,
    Value,
    critic_ensemble,
    tanh_gaussian_actor,
)
from headstart.nets.latent import ForwardModel
from headstart.nets.layers import MLP, LayerNorm, Linear
from headstart.nets.precision import Precision, multiply_in
from headstart.nets.skills import HilbertValue, PriorPolicy, SkillPolicy, Successor, to_unit, told, valued

__all__ = [
    "FEATURES",
    "MLP",
    "OGBENCH",
    "BestOfActor",
    "Bilinear",
    "CategoricalActor",
    "ChunkPolicy",
    "Critic",
    "DeterministicActor",
    "DiscreteCritic",
    "Ensemble",
    "Features",
    "FlowActor",
    "ForwardModel",
    "GaussianActor",
    "GoalValue",
    "GreedyActor",
    "HierarchicalPolicy",
    "HilbertValue",
    "LayerNorm",
    "Linear",
    "MultilinearValue",
    "OneStepActor",
    "Policy",
    "Precision",
    "PriorPolicy",
    "Quasimetric",
    "Scalar",
    "SeeingPolicy",
    "SkillPolicy",
    "Successor",
    "TanhGaussianActor",
    "UnitGaussianActor",
    "Value",
    "critic_ensemble",
    "flatten",
    "flow_actor",
    "goal_actor",
    "multiply_in",
    "one_step_actor",
    "perceptron",
    "seeing",
    "tanh_gaussian_actor",
    "tanh_normal_log_prob",
    "tanh_normal_sample",
    "to_sphere",
    "to_unit",
    "told",
    "valued",
]
