"""The finished layers of a run on the disk, with which a stopped run continues."""
