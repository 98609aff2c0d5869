"""Models that look at pictures: detectors, segmenters, captioners."""
