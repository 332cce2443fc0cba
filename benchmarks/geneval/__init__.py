"""GenEval: prompts, detector, rules and colours, each usable on its own."""
