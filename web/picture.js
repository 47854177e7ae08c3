// The photo on its canvas, with its faces boxed, marked or blurred.

const COLOUR = "#19e68c";

/** Draw a photo (an ImageBitmap, upright) and its faces; `marked` is the one that is pointed at. */
export function draw(canvas, photo, faces, show, marked) {
  canvas.width = photo.width;
  canvas.height = photo.height;
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  // as thick on the screen whatever the photo's size
  const unit = Math.max(photo.width, photo.height) / 900;
  for (const face of faces) {
    if (show === "blur") {
      blur(context, photo, face.box);
      continue;
    }
    box(context, face.box, unit * (face === marked ? 5 : 2.5));
    if (show === "landmarks") points(context, face.landmarks, Math.max(unit * 2.5, face.box.width / 50));
  }
}

function box(context, { left, top, width, height }, line) {
  context.lineWidth = line + 2;
  context.strokeStyle = "#0008";
  context.strokeRect(left, top, width, height);
  context.lineWidth = line;
  context.strokeStyle = COLOUR;
  context.strokeRect(left, top, width, height);
}

function points(context, landmarks, radius) {
  context.fillStyle = COLOUR;
  context.strokeStyle = "#000a";
  context.lineWidth = radius / 3;
  for (const { x, y } of Object.values(landmarks)) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

// As `featherface annotate --blur` does it: so few cells that no face can be recognised, with hair, chin and ears.
const CELLS = 6;
const MARGIN = 0.2;

function blur(context, photo, box) {
  const left = Math.max(0, Math.floor(box.left - box.width * MARGIN));
  const top = Math.max(0, Math.floor(box.top - box.height * MARGIN));
  const width = Math.min(photo.width, Math.ceil(box.left + box.width * (1 + MARGIN))) - left;
  const height = Math.min(photo.height, Math.ceil(box.top + box.height * (1 + MARGIN))) - top;
  const coarse = new OffscreenCanvas(CELLS, CELLS);
  const cells = coarse.getContext("2d");
  cells.imageSmoothingQuality = "high";
  cells.drawImage(photo, left, top, width, height, 0, 0, CELLS, CELLS);
  context.imageSmoothingQuality = "high";
  context.drawImage(coarse, left, top, width, height);
}
