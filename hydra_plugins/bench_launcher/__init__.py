"""Hydra plug-ins of ``bench``: all jobs of a sweep as one pooled run."""
