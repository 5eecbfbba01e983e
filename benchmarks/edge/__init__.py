"""Students of the recipes' shapes on a small device."""
