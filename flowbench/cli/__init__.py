"""The command line: parses, calls, prints. Commands import what they need in their bodies."""
