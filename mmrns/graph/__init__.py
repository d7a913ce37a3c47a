"""What is known: triples, vocabularies, the known answers of every query, datasets and their check."""

from mmrns.graph.answers import AnswerIndex
from mmrns.graph.dataset import Dataset, load_dataset
from mmrns.graph.vocabulary import Vocabulary

__all__ = ["AnswerIndex", "Dataset", "Vocabulary", "load_dataset"]
