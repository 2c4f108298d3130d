"""Mixers: each against its definition in plain numpy, chunks, summaries, masks; laws that every file of nn/mixers/ keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import product_flops

from easrec_jax.config import ATTENTIONS, CAUSAL_ATTENTIONS
from easrec_jax.nn.linear_attention import EPSILON, causal_sequence
from easrec_jax.nn.mixer import default_decay, find_mixer
from easrec_jax.nn.mixers.bidirectional import linrec
from easrec_jax.nn.mixers.causal import softmax

BATCH, LENGTH, HEADS, CHANNELS = 2, 5, 3, 4
MASK = np.arange(LENGTH) < np.array([[LENGTH], [LENGTH - 3]])


@pytest.fixture(scope="module")
def qkv() -> tuple:
    return tuple(
        jnp.asarray(np.random.default_rng(s).normal(size=(BATCH, LENGTH, HEADS, CHANNELS)), jnp.float32)
        for s in range(3)
    )


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(x))


def unit(x: np.ndarray, axis: int) -> np.ndarray:
    return x / np.sqrt(np.sum(x * x, axis, keepdims=True) + EPSILON)


def quadratic(q, k, v, decay) -> np.ndarray:
    """out_t = q_t / n_t . S_t / sqrt(d_h), written out; float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros_like(q)
    for b, t, h in np.ndindex(BATCH, LENGTH, HEADS):
        if not MASK[b, t]:
            continue
        fade = [decay[h] ** (t - s) for s in range(t + 1)]
        keys = [elu(k[b, s, h]) for s in range(t + 1)]
        norm = np.sqrt(sum(r * key**2 for r, key in zip(fade, keys, strict=True)) + EPSILON)
        query = unit(elu(q[b, t, h]), 0)
        for s in range(t + 1):
            out[b, t, h] += fade[s] * np.sum(query * keys[s] / norm) * v[b, s, h] / np.sqrt(CHANNELS)
    return out


@pytest.mark.parametrize("decay", [None, (0.5, 0.9, 1.0)])
def test_causal_linear_is_the_quadratic_definition_for_every_chunk_length(qkv, decay):
    expected = quadratic(*qkv, np.ones(HEADS) if decay is None else decay)
    rates = None if decay is None else jnp.array(decay)
    for chunk in range(1, LENGTH + 4):
        out = np.asarray(jax.jit(lambda *a, c=chunk: causal_sequence(*a, chunk=c))(*qkv, jnp.array(MASK), rates))
        np.testing.assert_allclose(out[MASK], expected[MASK], atol=2e-6, err_msg=f"chunk {chunk}")


def test_causal_linear_is_linrec_on_every_prefix(qkv):
    out = np.asarray(causal_sequence(*qkv, jnp.array(MASK), chunk=3))
    on_prefix = jax.jit(linrec.sequence)
    for t in range(LENGTH):
        prefix = np.asarray(on_prefix(*qkv, jnp.array(MASK & (np.arange(LENGTH) <= t))))
        np.testing.assert_allclose(prefix[MASK[:, t], t], out[MASK[:, t], t], atol=2e-6)


def test_linrec_is_equation_5_over_the_real_positions(qkv):
    out = np.asarray(linrec.sequence(*qkv, jnp.array(MASK)))
    for b, h in np.ndindex(BATCH, HEADS):
        q, k, v = (np.asarray(x, np.float64)[b, MASK[b], h] for x in qkv)
        rows, columns = unit(elu(q), 1), unit(elu(k), 0)
        np.testing.assert_allclose(out[b, MASK[b], h], rows @ (columns.T @ v) / np.sqrt(CHANNELS), atol=2e-6)


def test_softmax_is_causal_scaled_dot_product(qkv):
    out = np.asarray(softmax.sequence(*qkv, jnp.array(MASK)))
    for b, h in np.ndindex(BATCH, HEADS):
        q, k, v = (np.asarray(x, np.float64)[b, MASK[b], h] for x in qkv)
        weights = np.tril(np.exp(q @ k.T / np.sqrt(CHANNELS)))
        np.testing.assert_allclose(out[b, MASK[b], h], weights / weights.sum(1, keepdims=True) @ v, atol=2e-6)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_reading_a_summary_is_the_sequence_at_the_last_position(qkv, name):
    mixer, decay, mask = find_mixer(name), default_decay(HEADS), jnp.array(MASK)
    whole = mixer.sequence(*qkv, mask, decay)
    last = MASK.sum(1) - 1
    read = mixer.read(qkv[0][np.arange(BATCH), last], mixer.summarize(*qkv[1:], mask, decay))
    np.testing.assert_allclose(read, whole[np.arange(BATCH), last], atol=2e-6)


@pytest.mark.parametrize("name", CAUSAL_ATTENTIONS)
def test_pushing_events_one_by_one_is_the_whole_sequence(qkv, name):
    mixer, decay = find_mixer(name), default_decay(HEADS)
    q, k, v = qkv
    whole = mixer.sequence(*qkv, jnp.ones((BATCH, LENGTH), bool), decay)
    summary = mixer.summarize(k, v, jnp.zeros((BATCH, LENGTH), bool), decay)
    for t in range(LENGTH):
        summary = mixer.push(summary, k[:, t], v[:, t], decay)
        np.testing.assert_allclose(mixer.read(q[:, t], summary), whole[:, t], atol=2e-6)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_padding_contributes_nothing_and_an_empty_row_is_finite(qkv, name):
    def total(q, k, v, mask):
        out = find_mixer(name).sequence(q, k, v, mask, default_decay(HEADS))
        return jnp.sum(jnp.where(MASK[..., None, None], out, 0.0)), out

    q, k, v = qkv
    other = [jnp.where(MASK[..., None, None], x, 99.0) for x in (k, v)]
    run = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))
    outputs = [np.asarray(run(q, *kv, jnp.array(MASK))[1])[MASK] for kv in ((k, v), other)]
    np.testing.assert_allclose(*outputs, atol=2e-6)
    grads, out = run(q, k, v, jnp.zeros((BATCH, LENGTH), bool))
    assert all(np.isfinite(x).all() for x in (out, *grads))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_weights_of_one_query_are_the_sequence_at_the_last_position(qkv, name):
    mixer, decay, mask = find_mixer(name), default_decay(HEADS), jnp.array(MASK)
    whole = mixer.sequence(*qkv, mask, decay)
    last = MASK.sum(1) - 1
    shares = mixer.weights(qkv[0][np.arange(BATCH), last], qkv[1], mask, decay)
    np.testing.assert_allclose(jnp.einsum("bhl,blhc->bhc", shares, qkv[2]), whole[np.arange(BATCH), last], atol=2e-6)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_mixers_folder_says_what_it_reads(qkv, name):
    """Of a causal one a later event changes no earlier output, and it streams; of a bidirectional one it changes all."""
    mixer, mask = find_mixer(name), jnp.ones((BATCH, LENGTH), bool)
    changed = [x.at[:, -1].set(0.5) for x in qkv[1:]]
    before, after = (np.asarray(mixer.sequence(qkv[0], *kv, mask, default_decay(HEADS))) for kv in (qkv[1:], changed))
    moved = np.abs(after - before).max((0, 2, 3)) > 1e-5
    assert moved.tolist() == [name not in CAUSAL_ATTENTIONS] * (LENGTH - 1) + [True]
    assert (mixer.push is None) == (name not in CAUSAL_ATTENTIONS)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_mixer_costs_the_products_of_its_program(qkv, name):
    mixer, mask, decay = find_mixer(name), jnp.ones((BATCH, LENGTH), bool), default_decay(HEADS)
    sequence = product_flops(jax.make_jaxpr(mixer.sequence)(*qkv, mask, decay).jaxpr)
    assert sequence == BATCH * LENGTH * mixer.token_flops(HEADS * CHANNELS, HEADS, LENGTH)
    weights = product_flops(jax.make_jaxpr(mixer.weights)(qkv[0][:, 0], qkv[1], mask, decay).jaxpr)
    assert weights == BATCH * LENGTH * mixer.weight_flops(HEADS * CHANNELS, HEADS)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_channels_of_zeros_change_nothing_but_the_scale_where_the_mixer_has_it(qkv, name):
    """What a supernet that masks channels relies on."""
    mixer, mask, decay = find_mixer(name), jnp.array(MASK), default_decay(HEADS)
    q, k, v = (jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, CHANNELS))) for x in qkv)
    root = 2**0.5
    out = mixer.sequence(q * root if mixer.scales == "scores" else q, k, v, mask, decay)
    out = np.asarray(out * root if mixer.scales == "output" else out)
    np.testing.assert_allclose(out[..., :CHANNELS], mixer.sequence(*qkv, mask, decay), atol=2e-6)
    assert not out[..., CHANNELS:].any()


def test_default_decay_has_several_time_scales_and_one_head_that_forgets_nothing():
    np.testing.assert_allclose(default_decay(4), [0.5, 0.8, 0.92, 1.0])
    assert default_decay(1) == 1.0


# ------------------------------------------------------------------------------------------ gradients where keys are tiny

LINEAR = ("causal_linrec", "linrec", "recent_linrec")


def tiny_keys() -> tuple[jax.Array, ...]:
    """q, k, v of random numbers, single channels of several heads at 0 or tiny: at the first event, and in the middle."""
    rng = np.random.default_rng(5)
    q, k, v = (rng.normal(size=(BATCH, LENGTH, HEADS, CHANNELS)) for _ in range(3))
    for channel, value in enumerate((0.0, 1e-7, -1e-7, 1e-4)):
        k[0, 0, :, channel] = k[1, 0, 0, channel] = k[1, 1, :, channel] = k[0, 2, 1, channel] = value
        q[0, 1, 0, channel] = q[1, 0, 1, channel] = value
    q[0, 3, 2], k[0, :, 2, 0] = 0.0, 0.0  # a whole query, and a channel that no event has
    return tuple(jnp.asarray(x, jnp.float32) for x in (q, k, v))


def written_out(q, k, v, decay, *, causal: bool) -> jax.Array:
    """The quadratic definition at all positions, `decay` [heads], for a gradient in float64."""
    q, k = (jnp.where(x > 0, x, jnp.expm1(jnp.where(x > 0, 0.0, x))) for x in (q, k))
    age = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    counts = MASK[:, None, None, :] & ((age >= 0) | (not causal))
    fade = counts * decay[:, None, None] ** np.maximum(age, 0)  # batch heads t s
    norms = jnp.sqrt(jnp.einsum("bhts,bshc->bthc", fade, k**2) + EPSILON)
    q = q / jnp.sqrt(jnp.sum(q * q, -1, keepdims=True) + EPSILON) / norms
    return jnp.einsum("bthc,bshc,bhts,bshd->bthd", q, k, fade, v) / np.sqrt(CHANNELS)


def reference(q, k, v, decay, at, name: str) -> list[np.ndarray]:
    """Gradients of sum(at * out) in float64."""
    with jax.enable_x64(True):
        q, k, v, at = (jnp.asarray(np.asarray(x, np.float64)) for x in (q, k, v, at))
        decay = np.asarray(decay, np.float64) if name == "recent_linrec" else np.ones(HEADS)
        causal = name != "linrec"
        total = jax.grad(lambda *x: jnp.sum(at * written_out(*x, decay, causal=causal)), argnums=(0, 1, 2))
        return [np.asarray(x) for x in total(q, k, v)]


def by_sequence(mixer, q, k, v, decay):
    return mixer.sequence(q, k, v, jnp.array(MASK), decay)


def by_weights(mixer, q, k, v, decay):
    last = q[np.arange(BATCH), MASK.sum(1) - 1]
    return jnp.einsum("bhl,blhc->bhc", mixer.weights(last, k, jnp.array(MASK), decay), v)


def by_reading(mixer, q, k, v, decay):
    return mixer.read(q[np.arange(BATCH), MASK.sum(1) - 1], mixer.summarize(k, v, jnp.array(MASK), decay))


def by_pushing(mixer, q, k, v, decay):
    """Event by event; what follows the last real event is not read."""
    summary, out = mixer.summarize(k, v, jnp.zeros((BATCH, LENGTH), bool), decay), []
    for t in range(LENGTH):
        summary = mixer.push(summary, k[:, t], v[:, t], decay)
        out.append(mixer.read(q[:, t], summary))
    return jnp.stack(out, 1)


FORMS = [(name, form) for name in LINEAR for form in (by_sequence, by_weights, by_reading, by_pushing)]
FORMS = [(name, form) for name, form in FORMS if form is not by_pushing or name in CAUSAL_ATTENTIONS]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_are_those_of_float64_where_single_channels_are_tiny(name, form):
    q, k, v = tiny_keys()
    decay = default_decay(HEADS)
    at = np.random.default_rng(6).normal(size=q.shape) * MASK[..., None, None]
    read = at
    if form in (by_weights, by_reading):  # the last position alone
        rows, last = np.arange(BATCH), MASK.sum(1) - 1
        read = at[rows, last]
        at = np.zeros_like(at)
        at[rows, last] = read
    total = jax.jit(jax.grad(lambda *x: jnp.sum(read * form(find_mixer(name), *x, decay)), argnums=(0, 1, 2)))
    for found, expected in zip(total(q, k, v), reference(q, k, v, decay, at, name), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
        assert np.abs(found).max() <= 10 * EPSILON**-0.5  # of unit cotangents: what one first event may push at


def test_the_linear_modes_refuse_half_precision_by_name_and_softmax_keeps_it(qkv):
    mask = jnp.zeros((BATCH, LENGTH), bool)
    for kind in (jnp.float16, jnp.bfloat16):
        half = [x.astype(kind) for x in qkv]
        for name in LINEAR:
            with pytest.raises(ValueError, match=f"expected float32.*got {jnp.dtype(kind).name}"):
                find_mixer(name).sequence(*half, mask, default_decay(HEADS))
            with pytest.raises(ValueError, match="expected float32"):
                find_mixer(name).summarize(*half[1:], mask, default_decay(HEADS))
        out = softmax.sequence(*half, mask)  # a row without events too
        assert out.dtype == kind and np.isfinite(np.asarray(out, np.float32)).all()
