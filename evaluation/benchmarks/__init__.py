"""Benchmarks: for each a folder with its plan and its report; every claim is measured by one."""
