"""The ops: all variants of each, at full and at small shapes."""
