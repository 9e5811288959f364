"""Campaigns against the product: killed at random moments, fed damaged files, loaded with large cohorts."""
