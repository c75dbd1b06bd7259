"""Settings: `cfm.yml` and `cfw.yml` as models, and everything that can be wrong with their form.

The form is refused, with file, line, key and remedy; the world (a missing folder, a silent server) is
not: `cfm.cli.check` tells of it.  The models stand in `cfm_settings` and `cfw_settings`, their value types
in `fields`; `yaml_text` reads, `load` brings both together.
"""

from cfm.config.cfm_settings import CfmSettings
from cfm.config.cfw_settings import CfwSettings
from cfm.config.fields import split_address
from cfm.config.load import load_cfm, load_cfw
from cfm.config.problems import SettingsFileError, SettingsProblem

__all__ = [
    "CfmSettings",
    "CfwSettings",
    "SettingsFileError",
    "SettingsProblem",
    "load_cfm",
    "load_cfw",
    "split_address",
]
