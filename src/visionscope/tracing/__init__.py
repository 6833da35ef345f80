"""Finding points by what a model does, and watching them."""
