"""A model answered over HTTP; `headstart.deployment.serve` starts it."""
