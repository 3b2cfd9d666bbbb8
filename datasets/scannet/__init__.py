"""ScanNet: indoor scenes as colored surfaces, and the photos they were built from; also any data in its layout."""
