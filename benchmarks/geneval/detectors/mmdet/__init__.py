"""mmdet's Mask2Former: its protocol, its checkpoints' conversion, and mmdet itself as an option."""
