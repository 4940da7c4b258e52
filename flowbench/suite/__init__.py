"""What to run: suites from TOML files or from flags."""
