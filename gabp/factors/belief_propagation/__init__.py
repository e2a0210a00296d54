"""Gaussian belief propagation between the factors and variables of a nonlinear model."""

from gabp.factors.belief_propagation.beliefs import Beliefs, Messages
from gabp.factors.belief_propagation.propagation_state import InvalidMessageError, PropagationState
from gabp.factors.belief_propagation.schedules import SCHEDULES, Schedule

__all__ = ["SCHEDULES", "Beliefs", "InvalidMessageError", "Messages", "PropagationState", "Schedule"]
