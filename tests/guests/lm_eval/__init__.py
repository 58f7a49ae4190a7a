"""Tests of `guests/lm_eval`."""
