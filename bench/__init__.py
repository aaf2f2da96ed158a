"""Batch evaluation and benchmarking of LLM chat-completion APIs."""

__version__ = "0.1.0"
