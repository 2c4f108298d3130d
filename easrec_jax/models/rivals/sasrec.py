"""SASRec (Kang and McAuley, ICDM 2018): the network of `architecture.sasrec_architecture`, two layers without gates."""

from __future__ import annotations

from easrec_jax.models.cost import request_flops
from easrec_jax.models.network import Network
from easrec_jax.models.rival import Rival

RIVAL = Rival(
    network=lambda architecture, features, num_items, dropout: Network(architecture, num_items, dropout),
    flops=lambda network: request_flops(network.architecture, network.num_items),
)
