"""MADE, MAF and IAF."""
