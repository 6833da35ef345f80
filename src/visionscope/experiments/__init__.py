"""Studies that train: variants and seeds become tasks, tasks become tables, tables become verdicts."""
