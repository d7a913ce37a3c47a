"""Pictures and texts as token features: extraction, and the store that the rest of the library reads.

Importing this package is cheap: torch, timm and sentence-transformers are imported when they are used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrns.features.mapped import MODALITIES
    from mmrns.features.store import FeatureStore

__all__ = ["MODALITIES", "FeatureStore"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmrns.features import store

    return getattr(store, name)
