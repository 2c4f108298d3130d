"""The figures of the paper (EASRec, arXiv 2402.00390 v1), to stand beside ours. Recall, MRR, NDCG @10 by `pop100`."""

from __future__ import annotations

Figures = tuple[float, float, float]

TABLE3: dict[str, dict[str, tuple[Figures, Figures]]] = {  # validation items, test items
    "ml-1m": {
        "EASRec": ((0.7152, 0.4207, 0.4910), (0.6796, 0.3991, 0.4661)),
        "DARTS + SASRec": ((0.7142, 0.4097, 0.4825), (0.6846, 0.3915, 0.4614)),
        "ProxylessNAS + SASRec": ((0.7013, 0.4025, 0.4740), (0.6775, 0.3819, 0.4525)),
        "RecNAS + SASRec": ((0.7094, 0.4090, 0.4809), (0.6791, 0.3852, 0.4554)),
        "SASRec": ((0.7118, 0.4108, 0.4829), (0.6793, 0.3822, 0.4533)),
        "FDSA": ((0.6970, 0.3946, 0.4668), (0.6677, 0.3747, 0.4447)),
        "SASRecF": ((0.7144, 0.4166, 0.4877), (0.6783, 0.3941, 0.4620)),
        "SASRec + LinRec": ((0.7134, 0.4192, 0.4894), (0.6790, 0.3949, 0.4627)),
        "FDSA + LinRec": ((0.7046, 0.4099, 0.4803), (0.6753, 0.3921, 0.4597)),
        "SASRecF + LinRec": ((0.7099, 0.4176, 0.4876), (0.6815, 0.3978, 0.4657)),
    },
    "gowalla": {
        "EASRec": ((0.9274, 0.6833, 0.7425), (0.9199, 0.6715, 0.7317)),
        "DARTS + SASRec": ((0.9250, 0.6694, 0.7315), (0.9179, 0.6588, 0.7217)),
        "ProxylessNAS + SASRec": ((0.9271, 0.6552, 0.7212), (0.9218, 0.6438, 0.7112)),
        "RecNAS + SASRec": ((0.9223, 0.6601, 0.7237), (0.9144, 0.6494, 0.7136)),
        "SASRec": ((0.9241, 0.6598, 0.7238), (0.9159, 0.6468, 0.7119)),
        "FDSA": ((0.8990, 0.6231, 0.6898), (0.8894, 0.6079, 0.6759)),
        "SASRecF": ((0.9069, 0.6332, 0.6994), (0.8015, 0.6207, 0.6885)),
        "SASRec + LinRec": ((0.9247, 0.6818, 0.7408), (0.9174, 0.6679, 0.7284)),
        "FDSA + LinRec": ((0.8957, 0.6169, 0.6863), (0.8878, 0.6056, 0.6737)),
        "SASRecF + LinRec": ((0.9069, 0.6294, 0.6965), (0.8987, 0.6165, 0.6847)),
    },
}

TABLE4: dict[str, dict[str, tuple[float, float]]] = {  # inference seconds, GPU memory in GB
    "ml-1m": {
        "EASRec": (14.8, 11.07),
        "DARTS + SASRec": (23.0, 16.31),
        "ProxylessNAS + SASRec": (18.3, 11.60),
        "RecNAS + SASRec": (18.5, 11.60),
        "SASRec": (54.2, 28.26),
        "FDSA": (92.8, 45.21),
        "SASRecF": (49.8, 24.88),
        "SASRec + LinRec": (30.3, 19.47),
        "FDSA + LinRec": (24.9, 17.82),
        "SASRecF + LinRec": (24.8, 17.57),
    },
    "gowalla": {
        "EASRec": (232.0, 5.54),
        "DARTS + SASRec": (268.0, 8.60),
        "ProxylessNAS + SASRec": (237.0, 6.39),
        "RecNAS + SASRec": (234.0, 7.40),
        "SASRec": (383.0, 13.75),
        "FDSA": (565.0, 21.68),
        "SASRecF": (385.0, 14.03),
        "SASRec + LinRec": (393.0, 10.44),
        "FDSA + LinRec": (363.0, 13.45),
        "SASRecF + LinRec": (321.0, 10.49),
    },
    "planted-douban": {  # the paper's Douban: cost depends on the shape of the data alone, accuracy does not
        "EASRec": (70.0, 1.20),
        "DARTS + SASRec": (242.0, 7.11),
        "ProxylessNAS + SASRec": (109.0, 1.82),
        "RecNAS + SASRec": (82.0, 1.76),
        "SASRec": (357.0, 9.42),
        "FDSA": (563.0, 13.45),
        "SASRecF": (365.0, 9.62),
        "SASRec + LinRec": (223.0, 6.86),
        "FDSA + LinRec": (195.0, 6.46),
        "SASRecF + LinRec": (201.0, 8.30),
    },
}

TABLE5: dict[str, dict[str, Figures]] = {  # layers of the gates; validation items
    "ml-1m": {
        "2 layers": (0.7151, 0.4207, 0.4910),
        "1 layer": (0.7043, 0.4059, 0.4771),
        "no gates": (0.6977, 0.3875, 0.4615),
    },
}
