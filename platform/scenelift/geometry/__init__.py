"""Geometry: rigid transforms and projection, boxes in space and in images, grids and segments of points."""
