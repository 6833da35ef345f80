"""Measurements against peers: `python -m benchmarks [NAME...]`; each module but `measure` is one benchmark."""
