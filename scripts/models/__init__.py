"""The classifier's trunk: which networks it can be made of, and where their weights come from."""
