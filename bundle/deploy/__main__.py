"""What starts in the application's folder: ``python FOLDER -i INPUT -o OUTPUT -m MODEL``."""

import sys

from deploy.app import main  # this file lies beside the package in the application's folder

if __name__ == "__main__":
    sys.exit(main())
