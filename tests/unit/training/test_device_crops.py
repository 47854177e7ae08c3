import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.data.augment import AugmentSettings, _cut_rotated  # noqa: E402
from featherface_training.data.device import DeviceCrops, _Crop  # noqa: E402
from featherface_training.data.labels import mirror_labels, place_labels  # noqa: E402
from featherface_training.data.mixture import Mixture  # noqa: E402
from featherface_training.data.packed import PackedDataset, pack  # noqa: E402
from featherface_training.data.wider import LabelledPhoto  # noqa: E402
from featherface_training.trainer import Trainer  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Two photos with a bright square for a face, in two packs."""
    folder = tmp_path_factory.mktemp("device")
    packs = []
    for number, (width, height) in enumerate([(200, 150), (120, 260)]):
        pixels = cv2.GaussianBlur(
            np.random.default_rng(number).integers(0, 120, (height, width, 3), dtype=np.uint8), (0, 0), 3
        )
        pixels[60:110, 50:90] = 250
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        box = np.array([[50, 60, 90, 110]], np.float32)
        points = np.array([[[60, 80], [80, 80], [70, 90], [62, 100], [78, 100]]], np.float32)
        pack([(path, LabelledPhoto(path.name, box, points, box))], folder / str(number))
        packs.append(PackedDataset(folder / str(number)))
    return DeviceCrops(Mixture(packs[0], {"other": packs[1]}, {"other": 1.0}), CPU)


def plain(crops, which, left, top, side, mirrored=False, angle=0.0, **look):
    entry = crops.data.packs[which].index[0]
    start = int(crops._starts[which]) + entry["offset"]
    values = {"saturation": 1.0, "contrast": 1.0, "brightness": 0.0, "blur": 0.0, "noise": 0.0} | look
    return _Crop(start, entry["height"], entry["width"], left, top, side, angle, mirrored, **values)


def cut(crops, crop, size):
    return crops._look([crop], size, torch.Generator().manual_seed(0))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("which", [0, 1])
def test_a_crop_that_grows_equals_opencvs_bilinear(crops, which):
    pixels, _ = crops.data.packs[which][0]
    wanted = cv2.resize(pixels[40:120, 20:100], (160, 160), interpolation=cv2.INTER_LINEAR)
    got = cut(crops, plain(crops, which, 20, 40, 80), 160)
    # along the cut, OpenCV repeats the border and the device reads the photo beyond it
    np.testing.assert_allclose(got[2:-2, 2:-2].astype(int), wanted[2:-2, 2:-2], atol=2)


def test_a_crop_that_shrinks_by_two_is_the_mean_of_four_pixels(crops):
    pixels, _ = crops.data.packs[0][0]
    wanted = cv2.resize(pixels[10:138, 30:158], (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(cut(crops, plain(crops, 0, 30, 10, 128), 64).astype(int), wanted, atol=1)


def test_outside_of_the_photo_there_is_the_mean_colour(crops):
    image = cut(crops, plain(crops, 0, -100, -100, 300), 300)
    assert (image[:95, :95] == [104, 117, 123]).all()
    pixels, _ = crops.data.packs[0][0]
    np.testing.assert_allclose(image[101:249, 101:299].astype(int), pixels[1:149, 1:199], atol=1)


def test_a_mirrored_crop_is_the_mirror_image(crops):
    straight = cut(crops, plain(crops, 1, 10, 30, 100), 96)
    np.testing.assert_array_equal(
        cut(crops, plain(crops, 1, 10, 30, 100, mirrored=True), 96), straight[:, ::-1]
    )


@pytest.mark.parametrize("angle", [0.3, -1.9, 3.0])
def test_a_rotated_crop_is_the_cpus(crops, angle):
    pixels, _ = crops.data.packs[0][0]
    # grows by two: the device samples at pixels' centres, as OpenCV does
    image = cut(crops, plain(crops, 0, 40, 30, 80, angle=angle), 160).astype(int)
    wanted = _cut_rotated(pixels, 40, 30, 80, angle, 160, cv2.INTER_LINEAR)
    # the CPU interpolates twice, which blurs the square's edges
    assert np.abs(image - wanted).mean() < 1.5
    upside_down = cut(crops, plain(crops, 0, 40, 30, 80, angle=np.pi), 160)
    straight = cut(crops, plain(crops, 0, 40, 30, 80), 160)
    np.testing.assert_allclose(upside_down[::-1, ::-1].astype(int), straight, atol=1)


def test_colour_blur_and_noise(crops):
    at = (1, 10, 30, 100)
    image = cut(crops, plain(crops, *at), 96).astype(int)
    grey = cut(crops, plain(crops, *at, saturation=0.0), 96)
    assert (np.ptp(grey, axis=2) <= 1).all()
    lighter = cut(crops, plain(crops, *at, brightness=10.0, contrast=0.5), 96)
    np.testing.assert_allclose(lighter.astype(int), image * 0.5 + 10, atol=1)
    wanted = cv2.GaussianBlur(image.astype(np.float32), (9, 9), 1.3, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(cut(crops, plain(crops, *at, blur=1.3), 96).astype(int), wanted, atol=1)
    noisy = cut(crops, plain(crops, *at, contrast=0.5, brightness=60.0, noise=6.0), 96)
    assert (noisy - (image * 0.5 + 60)).std() == pytest.approx(6, rel=0.1)


@pytest.mark.parametrize("paste", [0.0, 1.0])
@pytest.mark.parametrize("rotate", [0.0, 0.5])
def test_labels_stay_on_their_faces(crops, rotate, paste):
    wanted = {
        "seed": 0,
        "batch": 2,
        "sizes": (96, 64),
        "augmentation": AugmentSettings((0.6, 1.0), mosaic=0.4, rotate=rotate, paste=paste),
    }
    seen = 0
    for epoch in range(12):
        for batch in crops.batches(epoch=epoch, **wanted):
            assert batch.images.shape[0] == 2
            # a rotated region's box is larger than a rotated face's, and a copy has no region
            if not rotate and not paste:
                assert torch.equal(batch.boxes, batch.ignored)
            for box, owner in zip(batch.boxes, batch.owners, strict=True):
                x, y = ((box[:2] + box[2:]) / 2).long().tolist()
                image = batch.images[owner].float()
                assert image[:, y, x].mean() > image.mean()
                seen += 1
    assert seen > 12


def test_small_photos_come_four_to_a_sample(crops):
    packs = crops.data.packs
    mixed = Mixture(packs[0], {"other": packs[1]}, {"other": 1.0}, fourfold=["other"])
    (batch,) = DeviceCrops(mixed, CPU).batches(
        seed=0, epoch=0, batch=2, sizes=(96,), augmentation=AugmentSettings((2.0,))
    )
    # the whole photo, with its one face, lies in each tile
    assert sorted(torch.bincount(batch.owners, minlength=2).tolist()) == [1, 4]
    quarters = batch.boxes[batch.owners == batch.owners.mode().values]
    centres = (quarters[:, :2] + quarters[:, 2:]) / 2
    assert {(x > 48, y > 48) for x, y in centres.tolist()} == {
        (a, b) for a in (False, True) for b in (False, True)
    }


def test_a_resumed_epoch_sees_the_same_batches(crops):
    look = AugmentSettings((0.6, 1.0), degrade=0.9)
    wanted = {"seed": 3, "epoch": 1, "batch": 1, "sizes": (64,), "augmentation": look}
    whole, late = list(crops.batches(**wanted)), list(crops.batches(**wanted, start=1))
    assert torch.equal(whole[1].images, late[0].images)
    assert torch.equal(whole[1].landmarks, late[0].landmarks)


def test_labels_are_moved_as_on_the_cpu(crops):
    photo = crops.data.packs[0].labels(0)
    moved = mirror_labels(place_labels(photo, 20, 40, 80, 2.0, 160), 160)
    assert moved.boxes.tolist() == [[20, 40, 100, 140]]


def test_a_run_takes_its_crops_from_the_device(crops, tmp_path):
    settings = TrainSettings(
        model="nano", epochs=1, batch=2, sizes=(64,), shares={"other": 1.0}, warmup_steps=1, bf16=False
    )
    trainer = Trainer(settings, crops.data, tmp_path, CPU, device_crops=True)
    trainer.run()
    assert trainer.step == 1


def test_half_a_pixel_past_the_edge_is_half_mean_colour(crops):
    pixels, _ = crops.data.packs[0][0]
    image = cut(crops, plain(crops, 0, -1, 20, 40), 80).astype(float)
    edge, mean = pixels[20:60, 0].astype(float), np.array([104, 117, 123.0])
    middle = image[1:79:2, 1]
    rows = edge[:-1] * 0.75 + edge[1:] * 0.25
    np.testing.assert_allclose(middle, rows * 0.25 + mean * 0.75, atol=2)
