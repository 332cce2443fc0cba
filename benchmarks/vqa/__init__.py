"""The common part of benchmarks that ask a vision-language model about an image."""
