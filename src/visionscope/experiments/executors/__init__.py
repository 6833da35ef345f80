"""Where tasks run: in processes of this machine, on a Ray cluster, or as jobs of Slurm.

- `work`: what a task is and what it hands over; `executor`: gives tasks to workers; `choosing`: reads `--on`.
- `processes`, `ray_actors`, `slurm_jobs`: the three kinds of worker.
"""
