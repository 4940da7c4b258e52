"""What every contract is made of: checks, their report, data to try a plugin on, the process."""
