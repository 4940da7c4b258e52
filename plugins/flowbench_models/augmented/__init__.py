"""Flows that extend their data by noise."""
