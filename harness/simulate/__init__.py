"""What a run would take on more GPUs: the real scheduler and strategies under a virtual clock."""
