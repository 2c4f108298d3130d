"""Search strategies, one a file: see `strategy.Strategy` for what they are made of."""
