"""The ops: every variant of each, beside each other at full and at small shapes."""
