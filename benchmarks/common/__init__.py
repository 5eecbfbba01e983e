"""What all rooms share: interleaved timing, records, and where they are kept."""
