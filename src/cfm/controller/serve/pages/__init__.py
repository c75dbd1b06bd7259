"""The dashboards: plain pages for people, which need no script and refresh themselves.

Pure: the JSON of `explain.report` comes in, a whole page goes out.  The strict policy of `web.answers` allows
nothing inline, so bars are SVG with attributes, and all looks are in `style.css`.  Neighbours: `html` makes
sure that a name cannot be markup; here `views` makes the pages, of `frame`, `tables` and `cells`.
"""

from cfm.controller.serve.pages.frame import STYLE
from cfm.controller.serve.pages.views import dashboard_page, filemetas_page, heartbeat_page, index_page

__all__ = ["STYLE", "dashboard_page", "filemetas_page", "heartbeat_page", "index_page"]
