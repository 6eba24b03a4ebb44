"""Answers questions that only graphs, or whoever holds their checkpoints, can answer; a module for each subject."""

from runs.engine.desk.desk import Desk
from runs.engine.desk.questions import Refused

__all__ = ["Desk", "Refused"]
