"""Claims, fixed before anything runs: what is said, how it is measured, and the rule that gives the verdict."""
