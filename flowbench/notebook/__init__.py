"""What ``import flowbench`` offers to scripts and notebooks: runs, tables and boards in Python."""
