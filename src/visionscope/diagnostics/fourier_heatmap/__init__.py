"""Error under each single vector of the Fourier basis."""
