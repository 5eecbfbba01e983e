"""What changes of shape lose, and what trimming costs."""
