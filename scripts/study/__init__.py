"""Which settings are best? Experiments, sweep, search, cross-validation and the quickstart."""
