"""nuScenes: six cameras and a LiDAR on a car, with lidarseg labels; also any data in its layout."""
