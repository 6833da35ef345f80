"""The paper's build-up rule as a search: attention from the end of a network, kept where accuracy over seeds rises."""
