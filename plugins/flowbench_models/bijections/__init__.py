"""Bijections that the models share; `forward` maps data to latent, ladj is summed and in nats."""
