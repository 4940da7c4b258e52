"""RealNVP."""
