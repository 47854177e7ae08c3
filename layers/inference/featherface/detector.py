"""The verb: photos in, faces out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from featherface.config import MAX_BATCH, DetectOptions, Settings, load_settings
from featherface.detections import Detections
from featherface.errors import ImageError
from featherface.images import decode
from featherface.mirror import averaged, mirrored
from featherface.packages import load_manifest
from featherface.postprocess import read_outputs
from featherface.resize import Bucket, Transform, plan, to_model_input
from featherface.runtime import Provider, Session
from featherface.validation import load_validated

__all__ = ["Detector", "ModelInfo", "PreparedImage"]

# Photos that wait for others of their bucket, as a multiple of the batch size: bounds the memory of
# detect_batch.
_WAITING_BATCHES: Final = 4
# Two cells of the coarsest level in each direction.
_WARM_UP: Final[Bucket] = (64, 64)


class ModelInfo(NamedTuple):
    """What runs.

    Parameters
    ----------
    model : str
        ``nano`` or ``v1``.
    version : str
        Of the model package.
    parameters : int
        Trainable parameters, as counted at validation.
    sha256 : str
        Of the model file's bytes.
    provider : {"cpu", "cuda", "tensorrt"}
        What really runs the model.
    precision : {"fp32", "int8"}
    """

    model: str
    version: str
    parameters: int
    sha256: str
    provider: Provider
    precision: str


class PreparedImage(NamedTuple):
    """A photo that is ready for the network.

    Parameters
    ----------
    pixels : ndarray of float32, shape (3, H, W)
        Model input: blue, green, red minus the mean, padded.
    transform : Transform
        The way back to the upright original photo.
    """

    pixels: npt.NDArray[np.float32]
    transform: Transform

    @property
    def bucket(self) -> Bucket:
        """Height and width of the input; photos of one bucket can share a batch."""
        return self.transform.bucket


class Detector:
    """Finds faces; safe to share between threads.

    Use `Detector.load`, which validates the model that it runs.

    Parameters
    ----------
    session : Session
    info : ModelInfo
    settings : Settings
    """

    def __init__(self, session: Session, info: ModelInfo, settings: Settings) -> None:
        self._session = session
        self._info = info
        self._settings = settings

    @classmethod
    def load(
        cls,
        model: str | None = None,
        *,
        settings: Settings | None = None,
        models: str | Path | None = None,
    ) -> Detector:
        """Validate a model and start it.

        Parameters
        ----------
        model : {"nano", "v1"}, optional
            The settings' model if omitted.
        settings : Settings, optional
            ``load_settings()`` if omitted.
        models : str or Path, optional
            The models folder; looked up by `featherface.packages.find_models_folder` if omitted.

        Raises
        ------
        ConfigurationError
            A setting is wrong.
        ModelIntegrityError
            The model is not the published one.
        ProviderError
            The required execution provider is missing or failed.
        """
        settings = settings or load_settings()
        if model is not None:
            settings = replace(settings, model=model)
        validated = load_validated(load_manifest(models), settings.model, settings.precision)
        session = Session(
            validated.data,
            device=settings.device,
            threads=settings.threads,
            memory_limit_mb=settings.memory_limit_mb,
        )
        info = ModelInfo(
            model=settings.model,
            version=validated.package.version,
            parameters=validated.package.parameters,
            sha256=validated.sha256,
            provider=session.provider,
            precision=settings.precision,
        )
        return cls(session, info, settings)

    @property
    def info(self) -> ModelInfo:
        """What runs."""
        return self._info

    @property
    def settings(self) -> Settings:
        """What holds unless a call's options say otherwise."""
        return self._settings

    def warm_up(self) -> None:
        """Run the network once, so that no photo pays for first-time work and a broken provider shows.

        What a first run sets up does not depend on the input's size, so a tiny input does.
        """
        self._session.run(np.zeros((1, 3, *_WARM_UP), dtype=np.float32))

    def detect(self, data: bytes, options: DetectOptions | None = None) -> Detections:
        """Find the faces of one photo.

        Parameters
        ----------
        data : bytes
            Of a JPEG, PNG, BMP or WebP: `Path.read_bytes`. Pixels as an array are not taken.
        options : DetectOptions, optional
            What this call wants otherwise than the detector's settings.

        Raises
        ------
        InputTypeError
            The data are no bytes, but a path, an open file or pixels, say.
        ImageError
            The photo cannot be used.
        ProviderError
            The execution provider failed.
        """
        return self.infer([self.prepare(data, options)], options)[0]

    def detect_batch(
        self, photos: Sequence[bytes], options: DetectOptions | None = None
    ) -> list[Detections | ImageError]:
        """Find the faces of many photos; a photo that cannot be used costs only itself.

        Parameters
        ----------
        photos : sequence of bytes
            Each as in `detect`.
        options : DetectOptions, optional
            What this call wants otherwise than the detector's settings.

        Returns
        -------
        list of Detections or ImageError
            One for each photo, in order.

        Raises
        ------
        InputTypeError
            One of the photos is no bytes.
        ProviderError
            The execution provider failed.
        """
        batch = 1 if self._session.provider == "cpu" else self._settings.batch_size
        results: dict[int, Detections | ImageError] = {}
        waiting: dict[Bucket, list[tuple[int, PreparedImage]]] = {}

        def flush(bucket: Bucket) -> None:
            group = waiting.pop(bucket)
            found = self.infer([prepared for _, prepared in group], options)
            results.update(zip((index for index, _ in group), found, strict=True))

        for index, data in enumerate(photos):
            try:
                prepared = self.prepare(data, options)
            except ImageError as error:
                results[index] = error
                continue
            group = waiting.setdefault(prepared.bucket, [])
            group.append((index, prepared))
            if len(group) == batch:
                flush(prepared.bucket)
            elif sum(map(len, waiting.values())) >= _WAITING_BATCHES * batch:
                flush(max(waiting, key=lambda bucket: len(waiting[bucket])))
        for bucket in list(waiting):
            flush(bucket)
        return [results[index] for index in range(len(photos))]

    def prepare(self, data: bytes, options: DetectOptions | None = None) -> PreparedImage:
        """Decode and scale a photo: everything before the network.

        Raises
        ------
        InputTypeError
            The data are no bytes.
        ImageError
            The photo cannot be used.
        """
        settings = self._settings.with_options(options)
        photo = decode(data, limits=settings.image_limits, long_side=settings.input_size)
        transform = plan(photo.width, photo.height, settings.input_size, settings.fit)
        return PreparedImage(to_model_input(photo, transform), transform)

    def infer(
        self, prepared: Sequence[PreparedImage], options: DetectOptions | None = None
    ) -> list[Detections]:
        """Run the network and read its answer: everything after `prepare`.

        Parameters
        ----------
        prepared : sequence of PreparedImage
            At most 8, all of one bucket.
        options : DetectOptions, optional
            Thresholds and `mirror` are read here; the input size and fit were settled in `prepare`.

        Returns
        -------
        list of Detections
            One for each photo, in order.

        Raises
        ------
        ProviderError
            The execution provider failed.
        ValueError
            There are more than 8 photos or more than one bucket.
        """
        buckets = {image.bucket for image in prepared}
        if len(prepared) > MAX_BATCH or len(buckets) > 1:
            raise ValueError(
                f"infer takes up to {MAX_BATCH} photos of a bucket; got {len(prepared)} of {sorted(buckets)}"
            )
        settings = self._settings.with_options(options)
        # On the CPU a batch is slower than one photo after the other, and its kernels may round otherwise:
        # alone, a photo has the same faces whatever came beside it.
        step = 1 if self._session.provider == "cpu" else settings.batch_size
        results = []
        for start in range(0, len(prepared), step):
            chunk = prepared[start : start + step]
            # alone, a photo's pixels are its batch: stacking them would copy some megabytes
            batch = chunk[0].pixels[np.newaxis] if step == 1 else np.stack([image.pixels for image in chunk])
            outputs = self._session.run(batch)
            if settings.mirror:
                outputs = averaged(outputs, self._session.run(mirrored(batch)), chunk[0].bucket)
            for row, image in enumerate(chunk):
                one = (outputs[0][row], outputs[1][row], outputs[2][row])
                results.append(read_outputs(one, image.transform, settings))
        return results
