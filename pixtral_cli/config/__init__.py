"""Settings and where they come from: defaults < the config file < PIXTRAL_* < flags; and the user's folders."""

from pixtral_cli.config.folders import Paths, config_file, paths
from pixtral_cli.config.loading import debug, load
from pixtral_cli.config.settings import SETTING_TYPES, Config, convert

__all__ = ["SETTING_TYPES", "Config", "Paths", "config_file", "convert", "debug", "load", "paths"]
