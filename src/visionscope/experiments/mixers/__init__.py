"""What a study of mixers asks beside other experiments: which are best, at which cost, and why."""
