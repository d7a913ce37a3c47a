"""How an entity gets its vector: one file an encoder, from a trained table to tables fused with pictures and texts."""

from mmrns.encoders.base import EntityEncoder, build_encoder, entity_inputs
from mmrns.encoders.lookup import Lookup

__all__ = ["EntityEncoder", "Lookup", "build_encoder", "entity_inputs"]
