"""Tests of `guests`."""
