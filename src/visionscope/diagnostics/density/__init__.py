"""How the whole spectrum of the loss's Hessian is spread."""
