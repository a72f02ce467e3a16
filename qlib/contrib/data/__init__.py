"""Ready-made feature sets and the handlers that load them."""
