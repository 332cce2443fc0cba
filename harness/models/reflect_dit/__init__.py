"""Reflect-DiT: a SANA that is told what was wrong with its earlier images.

Li et al., "Reflect-DiT: Inference-Time Scaling for Text-to-Image Diffusion Transformers via
In-Context Reflection", arXiv 2503.12271.
"""
