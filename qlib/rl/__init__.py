"""Reinforcement learning for order execution: the wing beside `qlib.crypto`, blind to it. No room is furnished yet."""
