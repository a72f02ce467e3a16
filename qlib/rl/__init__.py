"""Reinforcement learning for order execution: a wing of its own. No room is furnished yet."""
