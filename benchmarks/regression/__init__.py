"""Is a revision slower or larger than another? Ops, encoders and stages on small models."""
