"""DPG-Bench: dense prompts, graded by a graph of questions about each image."""
