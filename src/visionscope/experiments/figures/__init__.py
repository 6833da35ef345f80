"""The paper's figures drawn from the tables of an experiment: means over seeds beside the published values."""
