"""Images that others made or graded: folders in GenEval's layout in, scores and logs out."""
