"""Settings: models of `cfm.yml` and `cfw.yml`, and everything that can be wrong with their form.

A wrong form is refused, with file, line, key and remedy.  A wrong world (a missing folder, a silent server)
is not: `cfm.cli.check` tells the operator about it.  The models are in `cfm_settings` and `cfw_settings`,
the types of their values in `fields`.  `yaml_text` reads the file, and `load` brings file and model
together.
"""

from cfm.config.cfm_settings import CfmSettings
from cfm.config.cfw_settings import CfwSettings
from cfm.config.fields import parse_state_url, split_address
from cfm.config.load import load_cfm, load_cfw, load_to_ask_cfm
from cfm.config.problems import SettingsFileError, SettingsProblem

__all__ = [
    "CfmSettings",
    "CfwSettings",
    "SettingsFileError",
    "SettingsProblem",
    "load_cfm",
    "load_cfw",
    "load_to_ask_cfm",
    "parse_state_url",
    "split_address",
]
