"""Times in a network: the gap before an event is added to its embedding, the request scales and shifts the last hidden state.

What comes in with an event is known when the event is, so states of streams stay as they are whenever something is asked for; the
request is read after the last layer, at the cost of one product a channel. All tables begin at zero: a network begins as the one
without times. Their rows are the codes of `data.clock`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Integer

from easrec_jax.data.clock import GAP_ROWS, REQUEST_ROWS, UNKNOWN_REQUEST, Events, Timed, items_of

NAMES = ("gaps", "scale", "shift")  # of the tables: at the input, and the two of the request


def table_rows(times: str) -> dict[str, int]:
    """The rows of each table of a network that reads so much of times; none where it reads nothing."""
    return {} if times == "no" else dict(zip(NAMES, (GAP_ROWS, *[REQUEST_ROWS[times]] * 2), strict=True))


def gaps_before(events: Events) -> Integer[Array, ...]:
    """The code of the gap before each event; of ids alone it is not known."""
    found = events.before if isinstance(events, Timed) else jnp.zeros_like(events)
    return jnp.asarray(found).astype(jnp.int32)


def requests(events: Events) -> Integer[Array, "batch length 3"]:
    """The codes of the request after each event; of ids alone they are not known."""
    if isinstance(events, Timed):
        return jnp.asarray(events.request)
    return jnp.broadcast_to(jnp.asarray(UNKNOWN_REQUEST), (*events.shape, 3))


def last_requests(events: Events) -> Integer[Array, "batch 3"]:
    """The codes of the request after each user's last event."""
    index = jnp.maximum(jnp.sum(items_of(events) > 0, -1) - 1, 0)
    return jnp.take_along_axis(requests(events), index[:, None, None], 1)[:, 0]


def read_out(
    hidden: Float[Array, "*lead width"], scale: Float[Array, "rows width"], shift: Float[Array, "rows width"],
    request: Integer[Array, "*lead 3"], kept: Array | float = 1.0,
) -> Float[Array, "*lead width"]:  # fmt: skip
    """Hidden states for requests of these codes: h (1 + scale) + shift, each the sum of the codes' rows.

    `kept` is how much of the shift each channel gets, where a channel is not of all networks that are mixed.
    """
    codes = request[..., : 1 if len(scale) == GAP_ROWS else 3].astype(jnp.int32)
    return hidden * (1.0 + jnp.sum(scale[codes], -2)) + jnp.sum(shift[codes], -2) * kept
