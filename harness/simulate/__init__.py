"""A run on more GPUs, simulated: the real scheduler and strategies under a virtual clock."""
