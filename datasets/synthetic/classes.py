"""The classes of the synthetic world: raw lidarseg indices as nuScenes numbers them."""

from __future__ import annotations

from enum import IntEnum


class Raw(IntEnum):
    """Raw nuScenes-lidarseg index of each category that the world holds."""

    NOISE = 0
    PEDESTRIAN = 2
    BARRIER = 9
    CONE = 12
    BUS = 16
    CAR = 17
    TRUCK = 23
    ROAD = 24
    SIDEWALK = 26
    TERRAIN = 27
    MANMADE = 28
    VEGETATION = 30


CATEGORIES: dict[Raw, tuple[str, str, str]] = {
    Raw.NOISE: ("noise", "", "LiDAR returns from nothing: ghost points."),
    Raw.PEDESTRIAN: ("human.pedestrian.adult", "pedestrian", "People, standing or walking."),
    Raw.BARRIER: ("movable_object.barrier", "barrier", "Concrete, plastic or plank barriers at road works."),
    Raw.CONE: ("movable_object.trafficcone", "traffic_cone", "Traffic cones of all colors."),
    Raw.BUS: ("vehicle.bus.rigid", "bus", "Long vehicles with a band of windows."),
    Raw.CAR: ("vehicle.car", "car", "Cars and vans."),
    Raw.TRUCK: ("vehicle.truck", "truck", "A cab and a cargo box or bed."),
    Raw.ROAD: ("flat.driveable_surface", "driveable_surface", "The road, its markings, the crossing."),
    Raw.SIDEWALK: ("flat.sidewalk", "sidewalk", "The raised strips beside the road."),
    Raw.TERRAIN: ("flat.terrain", "terrain", "Everything flat beyond the sidewalk."),
    Raw.MANMADE: ("static.manmade", "manmade", "Buildings, walls, poles, bins, posts."),
    Raw.VEGETATION: ("static.vegetation", "vegetation", "Trees, bushes, hedges."),
}
"""Raw index -> (category name, name in the 16-class list or "" for noise, description)."""

OBJECTS = (Raw.PEDESTRIAN, Raw.BARRIER, Raw.CONE, Raw.BUS, Raw.CAR, Raw.TRUCK)
"""Classes that have instances and boxes; the others are stuff."""
STUFF = (Raw.ROAD, Raw.SIDEWALK, Raw.TERRAIN, Raw.MANMADE, Raw.VEGETATION)
