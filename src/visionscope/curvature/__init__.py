"""Second derivatives of the loss by the weights: products, eigenvalues, densities, and planes through the weights."""
