"""What people use instead of our Keras twin, to measure against. Nothing here is part of the course."""

from __future__ import annotations

import keras

from shared.bench.races import Job


def build(job: Job) -> keras.Model:
    """Return the network of `keras.applications` that is called like ours, with fresh weights, for logits."""
    keras.config.set_image_data_format("channels_last")  # keras.applications builds as keras.json says
    shape = (job.image_size, job.image_size, job.in_channels)
    return keras.applications.ResNet50(
        weights=None, input_shape=shape, classes=job.num_classes, classifier_activation=None
    )
