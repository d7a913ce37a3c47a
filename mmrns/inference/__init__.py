"""A trained run, ready to answer: load it, evaluate it, predict with it."""

from mmrns.inference.answerer import Answerer, Prediction
from mmrns.inference.ensemble import TrainedEnsemble, load_answerer
from mmrns.inference.trained import TrainedModel, evaluate, load

__all__ = ["Answerer", "Prediction", "TrainedEnsemble", "TrainedModel", "evaluate", "load", "load_answerer"]
