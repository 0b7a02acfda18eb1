"""Tests of BCAI, a folder for each kind. A package, so that tests/docs does not hide docs."""
