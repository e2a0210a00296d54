"""Floor 7: other solvers on a user's matrix (`gabp bench`)."""
