"""ScanNet: indoor scenes as colored surfaces, and the photos they were made of; and all data in its layout."""
