"""Train as `llamafactory-cli train CONFIG`, with the layers of hra and the penalty."""

from llamafactory.train.tuner import run_exp

import hra

hra.install()
run_exp(callbacks=[hra.OrthogonalityCallback(1e-4)])  # for λ = 0: run_exp()
