"""The rows of the scorecard: each a function from a loader under test to a cell."""
