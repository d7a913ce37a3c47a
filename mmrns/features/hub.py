"""Weights that live on the Hugging Face hub: fail within seconds, and say how to do without."""

import contextlib
from collections.abc import Iterator

from huggingface_hub import constants, get_session

from mmrns.errors import UserError

PROBE_SECONDS = 5.0


def reachable() -> bool:
    """Whether the hub answers at all within PROBE_SECONDS (proxies and HF_ENDPOINT are respected)."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # whatever the client of the day raises, it means "no"
        return False
    return True


@contextlib.contextmanager
def weights_from_hub(wanted: str, mend: str) -> Iterator[None]:
    """Load `wanted` ("--flag name") inside: from the hub, or from its local cache when the hub cannot be reached.

    Without this the libraries retry every file for half a minute each before they give up.
    Raises UserError that names `wanted` and `mend` when the weights cannot be had.
    """
    online = reachable()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not online
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = said_by(error) if online else "not in the local cache, and the hub cannot be reached"
        raise UserError(f"{wanted}: no weights ({reason}); give {mend}") from error
    finally:
        constants.HF_HUB_OFFLINE = before


def said_by(error: Exception) -> str:
    """The beginning of what an error of the hub's client says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
