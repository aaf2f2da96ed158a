"""Programs that a model wrote, run where they can do no harm: no network, no files, no secrets, and hard limits."""
