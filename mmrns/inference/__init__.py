"""A trained run, ready to answer: load it, evaluate it, predict with it."""

from mmrns.inference.trained import Prediction, TrainedModel, evaluate, load

__all__ = ["Prediction", "TrainedModel", "evaluate", "load"]
