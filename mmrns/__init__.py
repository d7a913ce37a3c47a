"""mmrns: multimodal knowledge graph completion with relation-enhanced negative sampling.

from mmrns import load_dataset, train, evaluate, load
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrns.config import Config as Config
    from mmrns.graph import load_dataset as load_dataset
    from mmrns.inference import TrainedModel as TrainedModel
    from mmrns.inference import evaluate as evaluate
    from mmrns.inference import load as load
    from mmrns.training.loop import train as train

__version__ = "0.1.0"

# Imported when first used: `import mmrns` and `mmrns --help` stay quick.
_HOMES = {
    "Config": "mmrns.config",
    "load_dataset": "mmrns.graph",
    "train": "mmrns.training.loop",
    "evaluate": "mmrns.inference",
    "load": "mmrns.inference",
    "TrainedModel": "mmrns.inference",
}
__all__ = ["Config", "TrainedModel", "evaluate", "load", "load_dataset", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrns' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
