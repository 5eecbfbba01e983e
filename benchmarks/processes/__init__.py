"""One training in processes whose environment differs: its memory, and its speed on a busy machine."""
