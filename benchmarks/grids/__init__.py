"""What grids cost in addition to their stages: plans, cells that do nothing, stores of many languages."""
