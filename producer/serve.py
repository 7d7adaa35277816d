"""`worker` without a fleet, or with several processes: keep them until told to stop."""

from __future__ import annotations

from imagejobs.clock import Clock
from imagejobs.settings import Settings
from producer.children import Say
from producer.home import Home
from producer.household import Household

TEND_SECONDS = 0.5


def serve(settings: Settings, home: Home, *, processes: int, say: Say, clock: Clock) -> None:
    """Until KeyboardInterrupt. Where somebody else works in this home already, wait to take over."""
    household = Household(settings, home, is_demo=False, processes=processes, is_quiet=False, say=say, clock=clock)
    try:
        household.start()
        if not household.is_working:
            say("another process works in this home folder: waiting to take over")
        while True:
            household.tend()
            clock.sleep(TEND_SECONDS)
    except KeyboardInterrupt:
        say("stopping: what is in hand is finished first (Ctrl-C again: at once)")
    finally:
        household.close()
