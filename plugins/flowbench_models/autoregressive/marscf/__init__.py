"""mAR-SCF."""
