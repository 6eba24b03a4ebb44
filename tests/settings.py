"""The site's settings, with files of their own: nothing of the developer's server is read or written.

The database is a file, so that other threads and connections see it.
"""

import atexit
import os
import shutil
import tempfile

_data_dir = tempfile.mkdtemp(prefix="deerflow-tests-")
atexit.register(shutil.rmtree, _data_dir, ignore_errors=True)
os.environ["DEERFLOW_DATA_DIR"] = _data_dir
# Programs that tests start are the site's own; each is told its data directory.
os.environ["DJANGO_SETTINGS_MODULE"] = "deerflow_site.settings"

from deerflow_site.settings import *  # noqa: E402, F403
from deerflow_site.settings import DATA_DIR, DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"] == "deerflow_site.sqlite":
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "tests.sqlite3"}

# Every client of a test would list all static files when it is made, which takes longer than most tests.
WHITENOISE_AUTOREFRESH = True
