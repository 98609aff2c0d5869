"""Stages of an iteration, in their order; apart from the stages, so that the command line is instant."""

STAGE_NAMES = ("sample", "rank", "rewards", "feedback", "report")
