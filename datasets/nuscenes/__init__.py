"""nuScenes: six cameras and a LiDAR on a car, with lidarseg labels; and all data in its layout."""
