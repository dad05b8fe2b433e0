"""Reads every setting of the service into one typed object, and tells all that is wrong with them at once."""

from cxstream.config.reading import CONFIG_VARIABLE, ConfigError, Problem, load, variables
from cxstream.config.settings import Settings
from cxstream.config.showing import describe, policy_stated, reference

__all__ = [
    "CONFIG_VARIABLE",
    "ConfigError",
    "Problem",
    "Settings",
    "describe",
    "load",
    "policy_stated",
    "reference",
    "variables",
]
