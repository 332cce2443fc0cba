"""What benchmarks share that ask a vision-language model questions about an image."""
