"""From records, suites and published tables to boards."""
