"""GenEval 2: prompts of rising compositionality, graded by asking a VLM about every atom."""
