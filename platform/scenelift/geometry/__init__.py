"""Geometry: rigid transforms and projection, boxes in space and in images, and operations on a grid or on
segments of points.
"""
