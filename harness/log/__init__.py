"""The run folder: manifest, Parquet log, images. Knows nothing of models or Ray."""
