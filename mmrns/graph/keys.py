"""Triples and queries as numbers of 64 bits, and graphs that are too large for that."""

from mmrns.errors import UserError


def check_keys(entities: int, relations: int) -> None:
    """Raise UserError if (direction, relation, entity, entity) is more than one number of 64 bits can tell apart."""
    if 2 * relations * entities**2 >= 2**63:
        raise UserError(
            f"{entities:,} entities and {relations:,} relations: a graph too large for its keys, since 2 x relations x "
            "entities^2 must stay below 2^63; leave out entities or relations"
        )
