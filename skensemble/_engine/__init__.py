"""The one training loop, over stacks of networks."""
