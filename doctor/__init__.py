"""What of this machine helps or hinders the pack, as a text to paste into a report."""
