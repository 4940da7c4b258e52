"""Values of metrics that were worked out by hand.

`ClosedForm` says what a metric sees where a case sets nothing: a Gaussian with a mean and a scale
of each value, trained for 1 s on one device with 1 MiB.
"""

from __future__ import annotations

import math

from flowbench.api import ClosedForm

_DIMS = 64  # of a 1x8x8 image

BPD = (
    ClosedForm(
        log_prob=[-_DIMS * math.log(2), -3 * _DIMS * math.log(2)],  # 1 and 3 bits a dimension
        expected=2.0,
    ),
)
NLL = (ClosedForm(log_prob=[-1.0, -3.0], expected=2.0),)
LOG_LIKELIHOOD = (ClosedForm(log_prob=[-1.0, -3.0], expected=-2.0),)
PARAMS = (ClosedForm(expected=4.0),)  # mean and scale of 2 values
DEVICE_HOURS = (ClosedForm(expected=1 / 3600),)
PEAK_MEMORY = (ClosedForm(expected=2.0**20),)
DENSITY_MASS = (ClosedForm(expected=1.0, tolerance=5e-3),)  # of random points
