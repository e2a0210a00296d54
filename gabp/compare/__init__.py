"""Floor 7: other solvers on a user's matrix. Trials, timings in pairs, tables and figures of `gabp bench`."""
