"""The settings of the running cfm: what is in force, and what another reading of the file would change.

On SIGHUP and `cfm reload`, limits, brakes, prefixes and `deletes` change while cfm runs.  Everything else
waits for the next start.  Neighbours: `reloading` reads the file, `config.effective` shapes what is told,
`serve.operator_api` serves it.
"""

from __future__ import annotations

from typing import Any

from cfm.config import CfmSettings, load_cfm
from cfm.config.changes import changed, need_restart
from cfm.config.effective import changes_json, effective_json
from cfm.controller.act.from_settings import rules_of
from cfm.controller.act.loop import Controller
from cfm.controller.decide import events as ev
from cfm.controller.decide.own_troubles import OwnTroubleKind
from cfm.controller.explain.rules_preview import rules_preview_json
from cfm.plan.view import Rules
from cfm.reloading import Reloader, SettingsReading


class OwnSettings:
    """What cfm was started with, and what it has read since."""

    def __init__(self, started: CfmSettings, controller: Controller) -> None:
        self._started = self._fresh = started
        self._waiting: tuple[str, ...] = ()
        """Keys of `_fresh` that are taken in at the next start only."""
        self._controller = controller
        self.reloader = Reloader(started.file, load_cfm, self._take, self._tell)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return rules_of(self._fresh)

    def effective(self) -> dict[str, Any]:
        """Each setting in force, and where it comes from."""
        settings = effective_json(self._started, self._fresh, self._waiting)
        return {"file": None if self._started.file is None else str(self._started.file), "settings": settings}

    async def preview(self) -> dict[str, Any]:
        """What a reload would change, in the settings and in the plan.  `CfmError` where it is refused."""
        fresh = await self.reloader.fresh()
        plan = await self._controller.read(lambda core, now: rules_preview_json(core, now, rules_of(fresh)))
        return {"reloaded": False, "changes": self._changes_to(fresh), "plan": plan}

    async def reload(self, by: str) -> tuple[SettingsReading, dict[str, Any]]:
        """Read the file again; the changes are those that came into force or wait."""
        before = self._fresh
        reading = await self.reloader.reload(by)
        changes = changes_json(before, self._fresh, self._waiting)
        return reading, {"reloaded": not reading.refused, "changes": changes}

    def _changes_to(self, fresh: CfmSettings) -> list[dict[str, Any]]:
        return changes_json(self._fresh, fresh, need_restart(self._started, fresh, rules_of))

    def _take(self, fresh: CfmSettings, by: str) -> tuple[str, ...]:
        keys = tuple(changed(self._fresh, fresh))
        self._waiting = need_restart(self._started, fresh, rules_of)
        self._fresh = fresh
        self._controller.feed(ev.RulesChanged(rules_of(fresh), keys, by))
        return self._waiting

    def _tell(self, read: SettingsReading) -> None:
        """Keep what is wrong, for the status, and the reading itself for the metrics."""
        self._controller.settings_read = read
        self._note(OwnTroubleKind.SETTINGS_REFUSED, read.refused_in_brief)
        if not read.refused:
            self._note(OwnTroubleKind.RESTART_NEEDED, ", ".join(read.need_restart))

    def _note(self, kind: OwnTroubleKind, why: str) -> None:
        self._controller.feed(ev.OwnTrouble(kind, "", why))
