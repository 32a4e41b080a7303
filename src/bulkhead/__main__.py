"""`python -m bulkhead`."""

import sys

from bulkhead.cli.main import main

sys.exit(main())
