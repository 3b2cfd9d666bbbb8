"""A trained student at work: labels of any point cloud, by classes or own words, in Python and for folders."""
