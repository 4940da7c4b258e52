"""WaveFlow, and NanoFlow on waveforms."""
