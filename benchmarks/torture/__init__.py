"""Every fault that the harness must survive, tried many times: what was lost, if anything."""
