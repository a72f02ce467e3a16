"""Reading what a model has learned."""
