"""What another strategy, budget or judge would have come to, answered from logged draws."""
