"""An Inception-v3 with random weights: the published one's architecture and file format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowbench_metrics.weight_files import INCEPTION


def write_random_inception(folder: Path) -> Path:
    """Writes weights of the right names and shapes under the published file's name."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    path = folder / INCEPTION.name
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        network = module.FeatureExtractorInceptionV3
        patch.setattr(network, "load_state_dict", lambda self, state: None)
        torch.save(network("inception-v3-compat", ["64"]).state_dict(), path)
    return path
