"""`--set OPTION=VALUE ...`: options of `mmrns train` on the command line of commands that run it many times."""

from collections.abc import Collection

from mmrns.config import Config
from mmrns.errors import UserError


def read_settings(settings: list[str], without: Collection[str]) -> dict[str, str]:
    """OPTION=VALUE as a mapping of options to text, which load_config takes.

    Args:
        settings: as given; an option may be written with dashes, or as its flag.
        without: options that may not be set so.

    Raises:
        UserError: names a setting that is not of this form, or an option that is unknown or not to be set.
    """
    given = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        if not equals or name not in Config.model_fields or name in without:
            raise UserError(
                f"--set {setting}: needs OPTION=VALUE, an option of mmrns train other than {' and '.join(without)}"
            )
        given[name] = value
    return given
