"""Where the commands `cfm` and `cfw` begin: first what must not come too late, then the command lines.

The command lines import half of the program, which takes a while.  Neighbours: `cfm` and `cfw`.
"""

from __future__ import annotations

import sys

from cfm.cli.encoding import use_utf8
from cfm.memory import give_back_free_memory
from cfm.signals import hold_hangups


def cfm() -> None:
    use_utf8()
    if _is_daemon():
        hold_hangups()
        give_back_free_memory()
    from cfm.cli.cfm import main

    main()


def cfw() -> None:
    use_utf8()
    if _is_daemon():
        hold_hangups()
    from cfm.cli.cfw import main

    main()


def _is_daemon() -> bool:
    """Other commands end when their terminal is closed, as everybody expects, and need little memory."""
    return sys.argv[1:2] in ([], ["run"])
