"""Second derivatives of the loss by the weights, and planes through the weights.

- `second_order`: the state in which a network can be differentiated twice, and what is checked first; `obstacles` names
  the module and the operation that stand in the way.
- `hvp`: the Hessian of one loss as a matrix known by its products; `sample_hessian`: that of many mini-batches.
- `lanczos`: eigenvalues of largest magnitude, with bounds; `density`: the whole spectrum and the trace, with errors;
  `eigenvalues`: what a collection of eigenvalues comes to (NEP, APE).
- `parameters`: over which parameters; `scopes`: those of a stage, a block, a kind of branch; `weights`: those that a
  direction moves.
- `directions`: random ones and those through checkpoints; `plane`: a copy of the network that moves along them;
  `folding`: what makes its passes faster.
"""
