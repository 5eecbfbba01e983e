"""Run many independent calls: in processes of this machine, as Slurm's job arrays, or as tasks of Ray."""
